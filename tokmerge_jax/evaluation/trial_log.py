"""Evaluated schedules on disk, a line of JSON each, so that none is ever evaluated twice."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

from tokmerge_jax import runtime
from tokmerge_jax.types import UserError


class TrialLog:
    """What is known of schedules under one set of facts; lines of other facts stay as they are."""

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
            self._known = {tuple(line["r"]): line for line in lines if line["facts"] == facts}
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise UserError(f"{path} is no log of schedules; move it away") from error
        if whole != text:  # killed while it wrote
            runtime.write_text(path, whole)

    def __contains__(self, r: Sequence[int]) -> bool:
        return tuple(r) in self._known

    def __getitem__(self, r: Sequence[int]) -> dict[str, Any]:
        """What was added about a schedule."""
        return self._known[tuple(r)]

    def add(self, r: Sequence[int], *, gmac: float, metric: str, value: float) -> None:
        """Adds a schedule's cost, and the name and value of what it was evaluated by."""
        line = {"r": [*r], "gmac": gmac, "metric": metric, "value": value, "facts": self._facts}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._known[tuple(r)] = line


def _checked(line: dict[str, Any]) -> dict[str, Any]:
    """A line whose r are whole numbers, whose value and GMAC are numbers, whose metric is text."""
    numbers, metric = (line["value"], line["gmac"]), line["metric"]
    whole = all(type(merged) is int for merged in line["r"])
    if not (whole and isinstance(metric, str) and all(isinstance(x, int | float) for x in numbers)):
        raise ValueError("this is no schedule")
    return line
