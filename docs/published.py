"""Writes docs/numbers.md: the published numbers of all configurations, with their sources.

Example:
  python docs/published.py
"""

import itertools
import pathlib
from collections.abc import Sequence

from tokmerge_jax.config import files
from tokmerge_jax.config.published import SHORT, UNMERGED, Published

_PAGE = pathlib.Path(__file__).with_name("numbers.md")
_HEAD = """# Published numbers

The published numbers of each configuration, in per cent. `tokmerge eval` prints its own numbers
beside them, with the difference and with what the run did differently. `python docs/published.py`
writes this page from the `PUBLISHED` of the files in `configs/`. Grades of sources: A, the official
repository; B, a public leaderboard; C, a later paper of the same authors; D, third parties that
quote the paper and agree. The papers' own tables were not used. We know no numbers of
configurations that are missing here. vid-TLDR's harmonic means are those of T2V and V2T R@1.

| configuration | published | source | grade |
|---|---|---|---|
"""


def page() -> str:
    """The page, from the configurations as they are."""
    lines = []
    for name in files.names():
        _, publication = files.read(name)
        numbers = publication.numbers if publication else ()
        lines += [
            f"| `{name}` | {_described([*group])} | {source.name} | {source.grade} |"
            for source, group in itertools.groupby(numbers, lambda number: number.source)
        ]
    return _HEAD + "\n".join(lines) + "\n"


def _described(numbers: Sequence[Published]) -> str:
    """Numbers of one source: "T2V R@1/5/10 51.0/76.5/84.2, V2T ..., without merging"."""
    parts = []
    for row, group in itertools.groupby(numbers, lambda number: number.row):
        of_row = [*group]
        metrics = [number.metric for number in of_row]
        values = [f"{number.value:.1f}" for number in of_row]
        same = metrics[0].split("@")[0]
        short = all(metric.startswith(f"{same}@") for metric in metrics[1:]) and len(metrics) > 1
        names = [metrics[0], *(m.split("@")[1] for m in metrics[1:])] if short else metrics
        parts.append(f"{SHORT[row]}{'/'.join(names)} {'/'.join(values)}")
    return ", ".join(parts) + (", without merging" if numbers[0].changes == UNMERGED else "")


if __name__ == "__main__":
    _PAGE.write_text(page(), "utf-8")
