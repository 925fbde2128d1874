"""What an evaluation found: results.json, score matrices, and tables for people."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from rich.table import Table

from tokmerge_jax import runtime
from tokmerge_jax.evaluation.findings import Findings
from tokmerge_jax.types import System, UserError

DIRECTIONS = {"text_to_video": "T2V", "video_to_text": "V2T"}
"""Keys of results.json, and their short names in tables."""

_RECALLS = ("R@1", "R@5", "R@10")
_COUNTS = ("videos", "texts", "questions", "options", "answers")
_SAME = ("metric", "dataset", "split", "paragraph", "reranked", "answering", "candidates",
         "plus_similarity", "dual_softmax", "metrics", "score", "beams", "max_length", "min_length",
         "question_padding", "sampling", "decode_size", "trim_seconds", "left_out",
         *_COUNTS)  # fmt: skip
_BEFORE = {"answering": "rank", "decode_size": 0}  # of results that are older than the choice


def results(
    name: str,
    system: System,
    config: ConfigDict,
    found: Findings,
    fingerprint: str,
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """Everything worth keeping of an evaluation, as JSON holds it.

    Args:
      name: what the run is called.
      system: what was evaluated.
      config: the system's, with the split that it was evaluated on.
      found: its outcome.
      fingerprint: of the facts that the numbers depend on.
      seconds: of each stage, in this sitting; what an earlier one did is not in them.
    """
    macs = sum(layer.macs for layer in system.cost)
    headline, value = found.headline
    return {
        "name": name,
        "system": system.name,
        "headline": {"name": headline, "value": value},
        "scores": found.scores,
        **found.further,
        "protocol": found.protocol,
        "gmac": macs / 1e9,
        "gflop": 2 * macs / 1e9,
        "tokens": [layer.tokens_in for layer in system.cost] + [system.cost[-1].tokens_out],
        "clips_per_second": found.clips_per_second,
        "seconds": {stage: round(spent, 2) for stage, spent in seconds.items()},
        "versions": runtime.versions(),
        "fingerprint": fingerprint,
        "config": json.loads(config.to_json_best_effort()),
    }


def write(
    folder: pathlib.Path, results: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Writes `results.json` and `scores.npz` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "scores.npz", allow_pickle=False, **arrays)
    runtime.write_text(folder / "results.json", json.dumps(results, indent=1) + "\n")


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
    wanted = {"headline", "scores", "gmac", "protocol"}
    if not isinstance(found, dict) or not wanted <= found.keys():
        raise UserError(f"{file} is no result of scripts/eval.py")
    return found


def table(found: Mapping[str, Any]) -> Table:
    """The numbers of one evaluation, with their protocol below."""
    result = Table(title=found["name"], caption=_caption(found), caption_justify="left")
    result.add_column("")
    for name in next(iter(found["scores"].values())):
        result.add_column(name, justify="right")
    rules = found["protocol"]
    kinds = {"": found["scores"]}
    if "similarity_scores" in found:
        kinds = {", cosine": found["similarity_scores"]}
        if again := _scored_again(rules):
            kinds = {f", {again}": found["scores"], **kinds}
    for kind, scores in kinds.items():
        for row, values in scores.items():
            cells = (
                f"{value:g}" if isinstance(value, int) else f"{value:.1f}"
                for value in values.values()
            )
            result.add_row(row.replace("_", "-") + kind, *cells)
    return result


def compare(runs: Mapping[str, Mapping[str, Any]]) -> Table:
    """Several evaluations side by side, a row each; cost as a share of the first one's.

    Raises:
      UserError: if they are of different videos, texts or questions.
    """
    check_same(runs)
    first = next(iter(runs))
    directions = DIRECTIONS.items() if "text_to_video" in runs[first]["scores"] else ()
    columns = [f"{short} R@1/5/10" for _, short in directions] or [runs[first]["headline"]["name"]]
    result = Table(title=_title(runs[first]), pad_edge=False)  # fits a terminal of 80 columns
    result.add_column("run")
    for column in (*columns, "tokens", "GMAC", "share", "clips/s"):
        result.add_column(column, justify="right")
    for name, found in runs.items():
        speed, share = found["clips_per_second"], found["gmac"] / runs[first]["gmac"]
        cells = [
            "/".join(f"{found['scores'][way][recall]:.3g}" for recall in _RECALLS)
            for way, _ in directions
        ]
        result.add_row(
            name,
            *(cells or [f"{found['headline']['value']:.1f}"]),
            str(found["tokens"][-1]),
            _number(found["gmac"]),
            f"{share:.0%}",
            "-" if speed is None else f"{speed:.1f}",
        )
    return result


def check_same(runs: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks that the numbers of several evaluations, by name, mean the same.

    Raises:
      UserError: if they are of different metrics, videos, texts or questions.
    """
    first, *others = runs
    for other in others:
        for key in _SAME:
            ours, theirs = (_rules(runs[name]).get(key) for name in (first, other))
            if ours != theirs:
                raise UserError(
                    f"{first} and {other} cannot be compared: their {key} is {ours} and {theirs}"
                )


def _rules(found: Mapping[str, Any]) -> dict[str, Any]:
    return {**_BEFORE, "metric": found["headline"]["name"], **found["protocol"]}


def _title(found: Mapping[str, Any]) -> str:
    rules = found["protocol"]
    counts = [f"{rules[key]} {key}" for key in _COUNTS if key in rules]
    parts = [f"{rules['dataset']}, {rules['split']}: {', '.join(counts)}"]
    if "reranked" in rules:
        parts.append(_scored_again(rules) or "cosine")
    return ", ".join(parts)


def _scored_again(rules: Mapping[str, Any]) -> str:
    """How retrieval's scores came about, if they are not cosines."""
    if rules["reranked"]:
        return f"re-ranked ({rules['candidates']})"
    return f"dual softmax ({rules['dual_softmax']:g})" if rules["dual_softmax"] else ""


def _number(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def _caption(found: Mapping[str, Any]) -> str:
    rules, speed = found["protocol"], found["clips_per_second"]
    counts = [f"{rules[key]} {key}" for key in _COUNTS if key in rules]
    parts = [
        f"{rules['dataset']}, split {rules['split']}: {', '.join(counts)}",
        f"{_number(found['gmac'])} GMAC ({_number(found['gflop'])} GFLOP) a clip",
    ]
    if "truths_among_answers" in rules:
        parts.append(f"{rules['truths_among_answers']:g} % of the right answers are in the list")
    if rules.get("answering") == "generate":
        parts.append(
            f"answers written, of at most {rules['max_length']} pieces, {rules['beams']} beams"
        )
    if speed is not None:
        parts.append(f"{speed:.1f} clips/s")
    if rules["left_out"]:
        parts.append(f"{len(rules['left_out'])} broken videos left out")
    return "\n".join(parts)
