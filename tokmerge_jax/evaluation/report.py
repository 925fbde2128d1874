"""What an evaluation found: results.json, score matrices, and tables for people."""

import json
import os
import pathlib
from collections.abc import Mapping
from statistics import harmonic_mean

import jax
import numpy as np
from rich.markup import escape
from rich.table import Table

from tokmerge_jax import disk, runtime
from tokmerge_jax.config import Config
from tokmerge_jax.evaluation.findings import Findings
from tokmerge_jax.system import System
from tokmerge_jax.types import Json, UserError

DIRECTIONS = {"text_to_video": "T2V", "video_to_text": "V2T"}
"""Keys of results.json, and their short names in tables."""

_RECALLS = ("R@1", "R@5", "R@10")
_TOPS = ("top-1", "top-5")
_COUNTS = ("videos", "texts", "questions", "options", "answers", "actions")
_SAME = ("metric", "dataset", "split", "paragraph", "reranked", "answering", "candidates",
         "plus_similarity", "dual_softmax", "metrics", "score", "beams", "max_length", "min_length",
         "question_padding", "sampling", "decode_size", "trim_seconds", "left_out",
         "clips", "crops", "wrap", "scale", *_COUNTS)  # fmt: skip
_BEFORE = {"answering": "rank", "decode_size": 0}  # of results that are older than the choice
_MISTAKES = 5  # of a kind that are shown


def results(
    name: str,
    system: System,
    config: Config,
    found: Findings,
    facts: Mapping[str, Json],
    seconds: Mapping[str, float],
) -> dict[str, Json]:
    """Everything worth keeping of an evaluation, as JSON holds it.

    Args:
      name: what the run is called.
      system: what was evaluated.
      config: the system's, with the split that it was evaluated on.
      found: its outcome.
      facts: that the scores depend on (`store.model_facts`).
      seconds: of each stage, over all sittings.
    """
    cost = system.merging.cost
    macs = sum(layer.macs for layer in cost)
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
        "tokens": [layer.tokens_in for layer in cost] + [cost[-1].tokens_out],
        "clips_per_second": found.clips_per_second,
        "seconds": {stage: round(spent, 2) for stage, spent in seconds.items()},
        "versions": runtime.versions(),
        "fingerprint": runtime.fingerprint(facts),
        "checkpoint": {
            "name": pathlib.Path(config.checkpoint).name,
            "digest": facts["checkpoint"][:16],
        },
        "config": settings(config),
    }


def settings(config: Config) -> dict[str, Json]:
    """A configuration as JSON holds it, its files named as by `file_name`."""
    return jax.tree.map(file_name, json.loads(json.dumps(config.to_dict())))


def file_name(value: Json) -> Json:
    """The last part of a whole path, which is of one machine and tells whose; else `value`."""
    whole = isinstance(value, str) and pathlib.Path(value).is_absolute()
    return pathlib.Path(value).name if whole else value


def warnings(found: Mapping[str, Json]) -> list[str]:
    """What is to be said of results whose queries have nothing but equal scores, one a sentence."""
    return [
        f"{row.replace('_', '-')}: {equal['all']} queries have equal scores alone, so their ranks"
        f" mean nothing (ties: {found['protocol']['ties']}); look at the weights"
        for row, equal in found.get("equal_scores", {}).items()
        if equal["all"]
    ]


def write(
    folder: pathlib.Path, results: Mapping[str, Json], arrays: Mapping[str, np.ndarray]
) -> None:
    """Writes `results.json` and `scores.npz` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "scores.part.npz"
    with disk.explained(folder / "scores.npz"):
        np.savez(part, allow_pickle=False, **arrays)
        os.replace(part, folder / "scores.npz")
    runtime.write_text(folder / "results.json", json.dumps(results, indent=1) + "\n")


def read(path: pathlib.Path) -> dict[str, Json]:
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


def table(found: Mapping[str, Json]) -> Table:
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


def mistakes(found: Mapping[str, Json]) -> list[Table]:
    """Of action recognition: the actions that were recognised least, and those confused most often.

    Tables without a row are left out; of other tasks' results there are none.
    """
    wrong = [(name, row) for name, row in found.get("classes", {}).items() if row["accuracy"] < 100]
    wrong.sort(key=lambda item: (item[1]["accuracy"], -item[1]["count"]))
    worst = Table("action", title="least recognised", title_justify="left")
    for column in ("top-1", "videos"):
        worst.add_column(column, justify="right")
    for name, row in wrong[:_MISTAKES]:
        worst.add_row(escape(name), f"{row['accuracy']:.1f}", str(row["count"]))
    confused = Table("action", "taken for", title="most often confused", title_justify="left")
    confused.add_column("videos", justify="right")
    for pair in found.get("confused", [])[:_MISTAKES]:
        confused.add_row(escape(pair["action"]), escape(pair["taken_for"]), str(pair["count"]))
    return [table for table in (worst, confused) if table.row_count]


def compare(runs: Mapping[str, Mapping[str, Json]]) -> Table:
    """Several evaluations side by side, a row each; cost as a share of the first one's.

    Raises:
      UserError: if they are of different videos, texts or questions.
    """
    check_same(runs)
    first = next(iter(runs))
    result = Table(title=_title(runs[first]), pad_edge=False)  # fits a terminal of 80 columns
    result.add_column("run")
    for column in (*_numbers(runs[first]), "tokens", "GMAC", "share", f"{_unit(runs[first])}s/s"):
        result.add_column(column, justify="right")
    for name, found in runs.items():
        speed, share = found["clips_per_second"], found["gmac"] / runs[first]["gmac"]
        result.add_row(
            name,
            *_numbers(found).values(),
            str(found["tokens"][-1]),
            _number(found["gmac"]),
            f"{share:.0%}",
            "-" if speed is None else f"{speed:.1f}",
        )
    return result


def check_same(runs: Mapping[str, Mapping[str, Json]]) -> None:
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


def _numbers(found: Mapping[str, Json]) -> dict[str, str]:
    """What a run is compared by: cells by the names of their columns."""
    scores, headline = found["scores"], found["headline"]
    if "text_to_video" in scores:
        recalls = {
            f"{short} R@1/5/10": "/".join(f"{scores[way][recall]:.3g}" for recall in _RECALLS)
            for way, short in DIRECTIONS.items()
        }
        mean = harmonic_mean([scores[way]["R@1"] for way in DIRECTIONS])
        return {**recalls, "mean R@1": f"{mean:.3g}"}
    if headline["name"] in _TOPS:
        return {name: f"{scores['all'][name]:.1f}" for name in _TOPS}
    return {headline["name"]: f"{headline['value']:.1f}"}


def _rules(found: Mapping[str, Json]) -> dict[str, Json]:
    return {**_BEFORE, "metric": found["headline"]["name"], **found["protocol"]}


def _title(found: Mapping[str, Json]) -> str:
    rules = found["protocol"]
    counts = [f"{rules[key]} {key}" for key in _COUNTS if key in rules]
    parts = [f"{rules['dataset']}, {rules['split']}: {', '.join(counts)}"]
    if "reranked" in rules:
        parts.append(_scored_again(rules) or "cosine")
    if "crops" in rules:
        parts.append(_views(rules))
    return ", ".join(parts)


def _views(rules: Mapping[str, Json]) -> str:
    """Of how many a video's score is the mean."""
    clips, crops = rules["clips"], rules["crops"]
    return f"{clips * crops} views a video ({clips} clips, {crops} crops of each)"


def _unit(found: Mapping[str, Json]) -> str:
    """What costs are of, and is counted in speed."""
    return "view" if "crops" in found["protocol"] else "clip"


def _scored_again(rules: Mapping[str, Json]) -> str:
    """How retrieval's scores came about, if they are not cosines."""
    if rules["reranked"]:
        return f"re-ranked ({rules['candidates']})"
    return f"dual softmax ({rules['dual_softmax']:g})" if rules["dual_softmax"] else ""


def _number(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def _caption(found: Mapping[str, Json]) -> str:
    rules, speed = found["protocol"], found["clips_per_second"]
    counts = [f"{rules[key]} {key}" for key in _COUNTS if key in rules]
    parts = [
        f"{rules['dataset']}, split {rules['split']}: {', '.join(counts)}",
        f"{_number(found['gmac'])} GMAC ({_number(found['gflop'])} GFLOP) a {_unit(found)}",
    ]
    if "crops" in rules:
        parts.append(_views(rules))
    if "truths_among_answers" in rules:
        parts.append(f"{rules['truths_among_answers']:g} % of the right answers are in the list")
    if rules.get("answering") == "generate":
        parts.append(
            f"answers written, of at most {rules['max_length']} pieces, {rules['beams']} beams"
        )
    if speed is not None:
        parts.append(f"{speed:.1f} {_unit(found)}s/s")
    if rules["left_out"]:
        parts.append(f"{len(rules['left_out'])} broken videos left out")
    return "\n".join(parts)
