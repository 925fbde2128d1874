"""Reports of evaluations: results.json, score matrices, and tables for the terminal."""

import json
import pathlib
from collections.abc import Mapping

import jax
import numpy as np
from rich.markup import escape
from rich.table import Table

from tokmerge_jax import disk, runtime
from tokmerge_jax.config import Config
from tokmerge_jax.evaluation.outcomes import PAIRS, Outcome
from tokmerge_jax.objects import Place
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
_MISTAKES = 5  # number of rows in each table of mistakes


def results(
    name: str,
    system: System,
    config: Config,
    outcome: Outcome,
    facts: Mapping[str, Json],
    seconds: Mapping[str, float],
) -> dict[str, Json]:
    """Builds the content of results.json.

    Args:
      name: the run's name.
      system: the evaluated system.
      config: its configuration, with the evaluated split.
      outcome: the evaluation's outcome.
      facts: everything that the scores depend on (`store.model_facts`).
      seconds: stage -> seconds, summed over all interrupted and resumed runs.
    """
    cost = system.merging.cost
    macs = sum(layer.macs for layer in cost)
    headline, value = outcome.headline
    return {
        "name": name,
        "system": system.name,
        "headline": {"name": headline, "value": value},
        "scores": outcome.scores,
        **outcome.further,
        "protocol": outcome.protocol,
        "gmac": macs / 1e9,
        "gflop": 2 * macs / 1e9,
        "tokens": [layer.tokens_in for layer in cost] + [cost[-1].tokens_out],
        "clips_per_second": outcome.clips_per_second,
        "scores_file": "scores.npz" if outcome.arrays else None,
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
    """A configuration as JSON values, with paths shortened by `file_name`."""
    return jax.tree.map(file_name, json.loads(json.dumps(config.to_dict())))


def file_name(value: Json) -> Json:
    """Shortens an absolute path, which would reveal the machine, to its last part; else `value`."""
    whole = isinstance(value, str) and pathlib.Path(value).is_absolute()
    return pathlib.Path(value).name if whole else value


def warnings(results: Mapping[str, Json]) -> list[str]:
    """Warnings, one sentence each, about queries whose scores are all equal."""
    return [
        f"{row.replace('_', '-')}: all scores of {equal['all']} queries are equal, so their ranks"
        f" mean nothing (ties: {results['protocol']['ties']}); check the weights"
        for row, equal in results.get("equal_scores", {}).items()
        if equal["all"]
    ]


def replaced(folder: Place, results: Mapping[str, Json]) -> list[str]:
    """A note, one sentence, if `write` will replace the results of another evaluation."""
    try:
        before = read(folder)
    except UserError:  # none, or not ours
        return []
    ours = json.loads(json.dumps(results))
    if all(before.get(key) == ours[key] for key in ("fingerprint", "protocol")):
        return []
    about = {key: before["protocol"].get(key) for key in ("dataset", "split")}
    return [
        f"{folder}: these results replace those of {before.get('name')} ({about['dataset']},"
        f" {about['split']}, {before['gmac']:.4g} GMAC), which their command brings back from the"
        " cache; name another folder as config.output to keep both"
    ]


def write(folder: Place, results: Mapping[str, Json], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes `results.json` and, if there are `arrays`, `scores.npz` into `folder`."""
    disk.make(folder)
    scores = folder / "scores.npz"
    if arrays:
        with disk.replaced(scores) as part, part.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
    else:
        with disk.explained(scores):
            scores.unlink(missing_ok=True)  # that of an earlier run
    runtime.write_text(folder / "results.json", json.dumps(results, indent=1) + "\n")


def read(path: Place) -> dict[str, Json]:
    """Reads the results in a folder, or in a results.json.

    Raises:
      UserError: if they are missing or not written by an evaluation.
    """
    file = path / "results.json" if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{path} holds no results.json; write one with tokmerge eval")
    try:
        content = json.loads(file.read_text())
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({error}); evaluate again") from error
    wanted = {"headline", "scores", "gmac", "protocol"}
    if not isinstance(content, dict) or not wanted <= content.keys():
        raise UserError(f"{file} is not a result of tokmerge eval")
    return content


def table(results: Mapping[str, Json]) -> Table:
    """A table of one evaluation's metrics, with the protocol below."""
    result = Table(title=results["name"], caption=_caption(results), caption_justify="left")
    result.add_column("")
    for name in next(iter(results["scores"].values())):
        result.add_column(name, justify="right")
    rules = results["protocol"]
    kinds = {"": results["scores"]}
    if "similarity_scores" in results:
        kinds = {", cosine": results["similarity_scores"]}
        if again := _scored_again(rules):
            kinds = {f", {again}": results["scores"], **kinds}
    for kind, scores in kinds.items():
        for row, values in scores.items():
            cells = (
                f"{value:g}" if isinstance(value, int) else f"{value:.1f}"
                for value in values.values()
            )
            result.add_row(row.replace("_", "-") + kind, *cells)
    return result


def mistakes(results: Mapping[str, Json]) -> list[Table]:
    """Tables of the actions with the lowest accuracy and of the most frequent confusions.

    Empty tables are left out; other tasks than action recognition have none.
    """
    wrong = [
        (name, row) for name, row in results.get("classes", {}).items() if row["accuracy"] < 100
    ]
    wrong.sort(key=lambda item: (item[1]["accuracy"], -item[1]["count"]))
    worst = Table("action", title="least recognised", title_justify="left")
    for column in ("top-1", "videos"):
        worst.add_column(column, justify="right")
    for name, row in wrong[:_MISTAKES]:
        worst.add_row(escape(name), f"{row['accuracy']:.1f}", str(row["count"]))
    confused = Table("action", "taken for", title="most often confused", title_justify="left")
    confused.add_column("videos", justify="right")
    for pair in results.get("confused", [])[:_MISTAKES]:
        confused.add_row(escape(pair["action"]), escape(pair["taken_for"]), str(pair["count"]))
    return [table for table in (worst, confused) if table.row_count]


def compare(runs: Mapping[str, Mapping[str, Json]]) -> Table:
    """A table of several evaluations, one per row, with the cost as a share of the first one's.

    Raises:
      UserError: if they use different videos, texts or questions.
    """
    check_same(runs)
    first = next(iter(runs))
    result = Table(  # fits a terminal of 80 columns, in which long names are folded
        title=_title(runs[first]), caption=_means(runs), caption_justify="left", pad_edge=False
    )
    result.add_column("run", overflow="fold")
    for column in (*_numbers(runs[first]), "tokens", "GMAC", "share", f"{_unit(runs[first])}s/s"):
        result.add_column(column, justify="right", no_wrap=True)
    for name, run in runs.items():
        speed, share = run["clips_per_second"], run["gmac"] / runs[first]["gmac"]
        result.add_row(
            escape(name),
            *_numbers(run).values(),
            str(run["tokens"][-1]),
            _number(run["gmac"]),
            f"{share:.0%}",
            "-" if speed is None else f"{speed:.1f}",
        )
    return result


def check_same(runs: Mapping[str, Mapping[str, Json]]) -> None:
    """Checks that several evaluations (name -> results) can be compared.

    Raises:
      UserError: if their metrics, videos, texts or questions differ.
    """
    rules = {
        name: {"metric": results["headline"]["name"], **results["protocol"]}
        for name, results in runs.items()
    }
    first, *others = runs
    for other in others:
        for key in _SAME:
            ours, theirs = rules[first].get(key), rules[other].get(key)
            if ours != theirs:
                raise UserError(
                    f"{first} and {other} cannot be compared: their {key} is {ours} and {theirs}"
                )


def _means(runs: Mapping[str, Mapping[str, Json]]) -> str | None:
    """The harmonic means of both R@1 of retrieval runs; None for other tasks."""
    means = {
        name: run["harmonic_mean"]["R@1"] for name, run in runs.items() if "harmonic_mean" in run
    }
    shown = ", ".join(f"{escape(name)} {mean:.1f}" for name, mean in means.items())
    return f"harmonic mean of both R@1: {shown}" if means else None


def _numbers(results: Mapping[str, Json]) -> dict[str, str]:
    """Column name -> cell of the metrics that runs are compared by."""
    scores, headline = results["scores"], results["headline"]
    if "text_to_video" in scores:
        return {
            f"{short} R@1/5/10": "/".join(f"{scores[way][recall]:.3g}" for recall in _RECALLS)
            for way, short in DIRECTIONS.items()
        }
    if headline["name"] in _TOPS:
        return {name: f"{scores['all'][name]:.1f}" for name in _TOPS}
    return {headline["name"]: f"{headline['value']:.1f}"}


def _title(results: Mapping[str, Json]) -> str:
    rules = results["protocol"]
    counts = [f"{rules[key]} {key}" for key in _COUNTS if key in rules]
    parts = [f"{rules['dataset']}, {rules['split']}: {', '.join(counts)}"]
    if "reranked" in rules:
        parts.append(_scored_again(rules) or "cosine")
    if "crops" in rules:
        parts.append(_views(rules))
    return ", ".join(parts)


def _views(rules: Mapping[str, Json]) -> str:
    """The number of views that a video's score is averaged over, in words."""
    clips, crops = rules["clips"], rules["crops"]
    return f"{clips * crops} views per video ({clips} clips, {crops} crops each)"


def _unit(results: Mapping[str, Json]) -> str:
    """The unit of cost and speed: "view" or "clip"."""
    return "view" if "crops" in results["protocol"] else "clip"


def _scored_again(rules: Mapping[str, Json]) -> str:
    """The kind of retrieval's final scores, in words; "" for plain cosines."""
    if rules["reranked"]:
        return f"re-ranked ({rules['candidates']})"
    return f"dual softmax ({rules['dual_softmax']:g})" if rules["dual_softmax"] else ""


def _number(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def _caption(results: Mapping[str, Json]) -> str:
    rules, speed = results["protocol"], results["clips_per_second"]
    counts = [f"{rules[key]} {key}" for key in _COUNTS if key in rules]
    parts = [
        f"{rules['dataset']}, split {rules['split']}: {', '.join(counts)}",
        f"{_number(results['gmac'])} GMAC ({_number(results['gflop'])} GFLOP) per {_unit(results)}",
    ]
    if "crops" in rules:
        parts.append(_views(rules))
    if "truths_among_answers" in rules:
        parts.append(f"{rules['truths_among_answers']:g} % of the right answers are in the list")
    if rules.get("answering") == "generate":
        parts.append(
            f"generated answers of at most {rules['max_length']} pieces, {rules['beams']} beams"
        )
    if speed is not None:
        parts.append(f"{speed:.1f} {_unit(results)}s/s")
    if rules["left_out"]:
        parts.append(f"{len(rules['left_out'])} broken videos left out")
    if not results.get("scores_file", True):
        parts.append(f"more than {PAIRS:,} pairs, so no scores.npz is written")
    return "\n".join(parts)
