"""Compares an evaluation's numbers with the published ones, and their protocols."""

from collections.abc import Mapping, Sequence
from operator import attrgetter

from rich.markup import escape
from rich.table import Table

from tokmerge_jax.config import Config
from tokmerge_jax.config.published import SHORT, Publication, Published
from tokmerge_jax.types import Json

SUM = "R@1/5/10 sum"

_PARTS = ("model.", "data.", "eval.")
_NO_PROTOCOL = {
    "model.drop_path", "model.dropout", "model.sizes", "data.folder", "data.on_broken",
    "data.vocabulary", "data.workers", "eval.batch_size", "eval.memory_gib",
}  # fmt: skip
"""Keys of `_PARTS` that change how an evaluation runs, but not its numbers."""


def compare(
    results: Mapping[str, Json], config: Config, publication: Publication
) -> list[dict[str, Json]]:
    """Returns a JSON row for each published number that `results` contain too.

    Args:
      results: the result of `report.results`.
      config: the evaluated configuration.
      publication: the published numbers in its file.
    """
    rows = []
    for number in publication.numbers:
        here = _measured(results, number)
        if here is None:
            continue
        rows.append(
            {
                "number": f"{SHORT[number.row]}{number.metric}",
                "here": here,
                "published": number.value,
                "difference": here - number.value,
                "source": number.source.name,
                "grade": number.source.grade,
                "protocol": _differences(results, config, publication, number),
            }
        )
    return rows


def table(rows: Sequence[Mapping[str, Json]]) -> Table:
    """A table of the rows of `compare`."""
    view = Table(title="beside published numbers", title_justify="left", pad_edge=False)
    for column in ("", "here", "published", "difference"):
        view.add_column(column, justify="right" if column else "left")
    view.add_column("in this run")
    view.add_column("source, grade")
    for row in rows:
        view.add_row(
            row["number"],
            f"{row['here']:.1f}",
            f"{row['published']:.1f}",
            f"{row['difference']:+.1f}",
            escape("\n".join(row["protocol"]) or "same protocol"),
            escape(f"{row['source']}, {row['grade']}"),
        )
    return view


def _measured(results: Mapping[str, Json], number: Published) -> float | None:
    """The number that the results hold for a published one; None if they hold none."""
    if number.row == "both":
        return results.get("harmonic_mean", {}).get("R@1")
    scores = results["scores"].get(number.row, {})
    if number.metric == SUM:
        recalls = [scores.get(f"R@{k}") for k in (1, 5, 10)]
        return None if None in recalls else sum(recalls)
    return scores.get(number.metric)


def _differences(
    results: Mapping[str, Json], config: Config, publication: Publication, number: Published
) -> list[str]:
    """This run's differences, a phrase each: keys with their values, videos left out."""
    here = config.resolved()
    there = publication.config.override(number.changes)
    keys = [key for key in here.keys if key.startswith(_PARTS) and key not in _NO_PROTOCOL]
    shared = [key for key in keys if key in {*there.keys}]
    values = ((key, attrgetter(key)(here), attrgetter(key)(there)) for key in shared)
    phrases = [f"{key}={ours}, there {theirs}" for key, ours, theirs in values if ours != theirs]
    left_out = results["protocol"]["left_out"]
    return phrases + ([f"{len(left_out)} broken videos left out"] if left_out else [])
