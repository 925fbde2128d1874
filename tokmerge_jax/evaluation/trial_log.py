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
        text = path.read_text("utf-8") if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:  # killed while it wrote
            runtime.write_text(path, whole)
        try:
            lines = [json.loads(line) for line in whole.splitlines()]
            self._known = {tuple(line["r"]): line for line in lines if line["facts"] == facts}
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{path} is no log of schedules; move it away") from error

    def __contains__(self, r: Sequence[int]) -> bool:
        return tuple(r) in self._known

    def __getitem__(self, r: Sequence[int]) -> dict[str, Any]:
        """What was added about a schedule."""
        return self._known[tuple(r)]

    def add(self, r: Sequence[int], **found: Any) -> None:
        """Adds what was found about a schedule (anything that JSON holds)."""
        line = {"r": [*r], **found, "facts": self._facts}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._known[tuple(r)] = line
