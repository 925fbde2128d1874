"""A log of evaluated schedules, one JSON line each, so that none is evaluated twice."""

import json
from collections.abc import Sequence

from tokmerge_jax import disk, hosts, runtime
from tokmerge_jax.objects import Place
from tokmerge_jax.types import Json, UserError

_NAMED = 3  # number of videos that an error names


class TrialLog:
    """The trials made under one set of facts; lines of other facts stay unchanged.

    All processes of a run make the same trials, and process 0 writes them.

    Metrics over different videos cannot be compared, so trials that left out other videos than the
    last trial are ignored too.
    """

    def __init__(self, path: Place, facts: str) -> None:
        """Opens the log at `path`, which need not exist, for the fingerprint `facts`.

        Raises:
          UserError: if a line is not a trial.
        """
        self._path, self._facts = path, facts
        content = disk.read(path) or b""
        try:
            text = content.decode()
            whole = text[: text.rfind("\n") + 1]
            lines = [_checked(json.loads(line)) for line in whole.splitlines()]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise UserError(
                f"{path} is not a log of schedules, or is damaged; move it away"
            ) from error
        ours = [line for line in lines if line["facts"] == facts]
        alike = [line for line in ours if line["left_out"] == ours[-1]["left_out"]]
        self._known = {tuple(line["r"]): line for line in alike}
        self._text = whole  # without a line that an older version was writing when it was killed

    def __contains__(self, r: Sequence[int]) -> bool:
        return tuple(r) in self._known

    def __getitem__(self, r: Sequence[int]) -> dict[str, Json]:
        """The trial of a schedule."""
        return self._known[tuple(r)]

    def add(
        self, r: Sequence[int], *, gmac: float, metric: str, value: float, left_out: Sequence[str]
    ) -> None:
        """Adds a schedule's cost, its metric's name and value, and the videos that were left out.

        Raises:
          UserError: if earlier trials left out other videos; a new log at this path uses the new
            trial and ignores those.
        """
        line = {"r": [*r], "gmac": gmac, "metric": metric, "value": value}
        line |= {"left_out": [*left_out], "facts": self._facts}
        if not hosts.number():
            self._text += json.dumps(line) + "\n"
            runtime.write_text(self._path, self._text)
        before = next(iter(self._known.values()), line)["left_out"]
        if before != line["left_out"]:
            raise UserError(
                f"{self._path}: this trial left out other videos ({_named(left_out)}) than earlier"
                f" ones ({_named(before)}), so they cannot be compared; run the same command again"
                " to evaluate the earlier ones anew"
            )
        self._known[tuple(r)] = line


def _named(videos: Sequence[str]) -> str:
    """Names the first videos and gives the number of the others."""
    more = [f"{len(videos) - _NAMED} more"] if len(videos) > _NAMED else []
    return ", ".join([*videos[:_NAMED], *more]) or "none"


def _checked(line: dict[str, Json]) -> dict[str, Json]:
    """Returns a line of the log after checking its fields' types; raises ValueError otherwise."""
    numbers, metric = (line["value"], line["gmac"]), line["metric"]
    whole = all(type(merged) is int for merged in line["r"])
    texts = all(isinstance(text, str) for text in (metric, *line["left_out"]))
    if not (whole and texts and all(isinstance(x, int | float) for x in numbers)):
        raise ValueError("this is not a trial")
    return line
