"""Evaluated schedules on disk, a line of JSON each, so that none is ever evaluated twice."""

import json
import pathlib
from collections.abc import Sequence

from tokmerge_jax import runtime
from tokmerge_jax.types import Json, UserError

_NAMED = 3  # videos that an error names


class TrialLog:
    """What is known of schedules under one set of facts; lines of other facts stay as they are.

    Metrics of other videos cannot be compared, so trials that left out others than the last one did
    are not known either.
    """

    def __init__(self, path: pathlib.Path, facts: str) -> None:
        """Opens the log at `path`, which need not exist, for the fingerprint `facts`.

        Raises:
          UserError: if a line is not one of ours.
        """
        self._path, self._facts = path, facts
        try:
            text = path.read_text("utf-8") if path.exists() else ""
            whole = text[: text.rfind("\n") + 1]
            lines = [_checked(json.loads(line)) for line in whole.splitlines()]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise UserError(f"{path} is no log of schedules, or is old; move it away") from error
        ours = [line for line in lines if line["facts"] == facts]
        alike = [line for line in ours if line["left_out"] == ours[-1]["left_out"]]
        self._known = {tuple(line["r"]): line for line in alike}
        if whole != text:  # killed while it wrote
            runtime.write_text(path, whole)

    def __contains__(self, r: Sequence[int]) -> bool:
        return tuple(r) in self._known

    def __getitem__(self, r: Sequence[int]) -> dict[str, Json]:
        """What was added about a schedule."""
        return self._known[tuple(r)]

    def add(
        self, r: Sequence[int], *, gmac: float, metric: str, value: float, left_out: Sequence[str]
    ) -> None:
        """Adds a schedule's cost, its metric's name and value, and the videos that were left out.

        Raises:
          UserError: if the known trials left out others; the next log at `path` knows this one.
        """
        line = {"r": [*r], "gmac": gmac, "metric": metric, "value": value}
        line |= {"left_out": [*left_out], "facts": self._facts}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        before = next(iter(self._known.values()), line)["left_out"]
        if before != line["left_out"]:
            raise UserError(
                f"{self._path}: the videos left out are {_named(left_out)}, and were"
                f" {_named(before)} in earlier trials, which cannot be compared; the same command"
                " evaluates those again"
            )
        self._known[tuple(r)] = line


def _named(videos: Sequence[str]) -> str:
    """A few of the videos, and how many they are."""
    more = [f"{len(videos) - _NAMED} more"] if len(videos) > _NAMED else []
    return ", ".join([*videos[:_NAMED], *more]) or "none"


def _checked(line: dict[str, Json]) -> dict[str, Json]:
    """A line whose r are whole numbers, whose value and GMAC are numbers; the rest of it texts."""
    numbers, metric = (line["value"], line["gmac"]), line["metric"]
    whole = all(type(merged) is int for merged in line["r"])
    texts = all(isinstance(text, str) for text in (metric, *line["left_out"]))
    if not (whole and texts and all(isinstance(x, int | float) for x in numbers)):
        raise ValueError("this is no schedule")
    return line
