"""What an evaluation found: results.json, score matrices, and tables for people."""

import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from rich.table import Table

from tokmerge_jax import runtime
from tokmerge_jax.evaluation import metrics
from tokmerge_jax.evaluation.retrieval import Scores
from tokmerge_jax.types import Gallery, System, UserError

DIRECTIONS = {"text_to_video": "T2V", "video_to_text": "V2T"}
"""Keys of results.json, and their short names in tables."""

_RECALLS = ("R@1", "R@5", "R@10")
_ALL = (*_RECALLS, "MedR", "MeanR")


def results(
    name: str,
    system: System,
    gallery: Gallery,
    broken: Sequence[str],
    scores: Scores,
    fingerprint: str,
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """Everything worth keeping of a retrieval evaluation, as JSON holds it.

    `scores` are the re-ranked ones if re-ranking was asked for, `similarity_scores` those of the
    cosines alone. `seconds` are this sitting's; what an earlier one did is not in them.
    """
    config, relevant = system.config, gallery.relevant
    final = metrics.both_directions(scores.text_to_video, scores.video_to_text, relevant)
    plain = metrics.both_directions(scores.similarity.T, scores.similarity, relevant)
    macs = sum(layer.macs for layer in system.cost)
    return {
        "name": name,
        "system": system.name,
        "scores": final,
        "similarity_scores": plain,
        "protocol": protocol(config, gallery, broken),
        "gmac": macs / 1e9,
        "gflop": 2 * macs / 1e9,
        "tokens": [layer.tokens_in for layer in system.cost] + [system.cost[-1].tokens_out],
        "clips_per_second": scores.clips_per_second,
        "seconds": {stage: round(spent, 2) for stage, spent in seconds.items()},
        "versions": runtime.versions(),
        "fingerprint": fingerprint,
        "config": json.loads(config.to_json_best_effort()),
    }


def protocol(config: ConfigDict, gallery: Gallery, broken: Sequence[str]) -> dict[str, Any]:
    """How the numbers came about, in the words of the papers."""
    data: Any = config.data
    reranked: Any = config.eval.rerank
    return {
        "dataset": data.dataset,
        "split": data.split,
        "videos": len(gallery.videos),
        "texts": len(gallery.texts),
        "left_out": list(broken),
        "paragraph": data.paragraph,
        "trim_seconds": data.trim_seconds,
        "reranked": reranked,
        "candidates": config.eval.top_k if reranked else None,
        "dual_softmax": False,
        "ties": "larger index first",
    }


def write(folder: pathlib.Path, found: Mapping[str, Any], scores: Scores) -> None:
    """Writes `results.json` and `scores.npz` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / "scores.npz",
        similarity=scores.similarity,
        text_to_video=scores.text_to_video,
        video_to_text=scores.video_to_text,
    )
    (folder / "results.json").write_text(json.dumps(found, indent=1) + "\n")


def read(path: pathlib.Path) -> dict[str, Any]:
    """The results of a folder, or of its results.json.

    Raises:
      UserError: if they are not there or not ours.
    """
    file = path / "results.json" if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{path} holds no results.json; write one with scripts/eval.py")
    try:
        found = json.loads(file.read_text())
    except ValueError as error:
        raise UserError(f"{file} is no JSON ({error}); evaluate again") from error
    if not isinstance(found, dict) or not {"scores", "gmac", "protocol"} <= found.keys():
        raise UserError(f"{file} is no result of scripts/eval.py")
    return found


def table(found: Mapping[str, Any]) -> Table:
    """The numbers of one evaluation, re-ranked and not, with their protocol below."""
    rules = found["protocol"]
    result = Table(title=found["name"], caption=_caption(found), caption_justify="left")
    result.add_column("")
    for name in _ALL:
        result.add_column(name, justify="right")
    kinds = {"cosine": found["similarity_scores"]}
    if rules["reranked"]:
        kinds = {f"re-ranked ({rules['candidates']})": found["scores"], **kinds}
    for kind, scores in kinds.items():
        for direction in DIRECTIONS:
            name = f"{direction.replace('_', '-')}, {kind}"
            result.add_row(name, *_cells(scores, [direction], _ALL))
    return result


def compare(runs: Mapping[str, Mapping[str, Any]]) -> Table:
    """Several evaluations side by side, a row each; cost as a share of the first one's.

    Raises:
      UserError: if they are of different videos or texts.
    """
    first, *others = runs
    same = ("dataset", "split", "videos", "texts", "paragraph", "reranked", "candidates")
    for other in others:
        for key in same:
            ours, theirs = (runs[name]["protocol"].get(key) for name in (first, other))
            if ours != theirs:
                raise UserError(
                    f"{first} and {other} cannot be compared: their {key} is {ours} and {theirs}"
                )
    rules = runs[first]["protocol"]
    kind = f"re-ranked ({rules['candidates']})" if rules["reranked"] else "cosine"
    result = Table(
        title=f"{rules['dataset']}, {rules['split']}: {rules['videos']} videos, "
        f"{rules['texts']} texts, {kind}",
        pad_edge=False,  # fits a terminal of 80 columns
    )
    recalls = [f"{short} R@1/5/10" for short in DIRECTIONS.values()]
    result.add_column("run")
    for column in (*recalls, "GMAC", "share", "clips/s"):
        result.add_column(column, justify="right")
    for name, found in runs.items():
        speed, share = found["clips_per_second"], found["gmac"] / runs[first]["gmac"]
        result.add_row(
            name,
            *("/".join(_cells(found["scores"], [way], _RECALLS)) for way in DIRECTIONS),
            _number(found["gmac"]),
            f"{share:.0%}",
            "-" if speed is None else f"{speed:.1f}",
        )
    return result


def _cells(
    scores: Mapping[str, Mapping[str, float]], directions: Iterable[str], names: Sequence[str]
) -> list[str]:
    return [f"{scores[direction][name]:.1f}" for direction in directions for name in names]


def _number(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def _caption(found: Mapping[str, Any]) -> str:
    rules, speed = found["protocol"], found["clips_per_second"]
    parts = [
        f"{rules['dataset']}, split {rules['split']}: {rules['videos']} videos, "
        f"{rules['texts']} texts",
        f"{_number(found['gmac'])} GMAC ({_number(found['gflop'])} GFLOP) a clip",
    ]
    if speed is not None:
        parts.append(f"{speed:.1f} clips/s")
    if rules["left_out"]:
        parts.append(f"{len(rules['left_out'])} broken videos left out")
    return "\n".join(parts)
