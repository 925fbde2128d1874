"""The kernels that the time of a program goes to, by JAX's profiler."""

import pathlib
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import jax

_MOST = 40


def kernels_of(run: Callable[[], object]) -> list[dict[str, Any]]:
    """Profiles one run.

    Returns:
      Rows of `name` (a kernel's, on a CPU an operation's), `count` and `seconds` of all its calls,
      the slowest first; the last, "others", adds up what is beyond the first 40.
    """
    totals: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
    for name, seconds in _events(run):
        totals[name][0] += 1
        totals[name][1] += seconds
    ranking = sorted(totals.items(), key=lambda item: -item[1][1])
    rest = [total for _, total in ranking[_MOST:]]
    others = [("others", [sum(x) for x in zip(*rest, strict=True)])] if rest else []
    return [
        {"name": name, "count": int(count), "seconds": seconds}
        for name, (count, seconds) in (*ranking[:_MOST], *others)
    ]


def _events(run: Callable[[], object]) -> Iterator[tuple[str, float]]:
    """Names and seconds of what ran on the devices; on a CPU, in XLA's threads."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run()
        (path,) = pathlib.Path(folder).rglob("*.xplane.pb")
        planes = list(jax.profiler.ProfileData.from_file(str(path)).planes)
    devices = [plane for plane in planes if plane.name.startswith("/device:")]
    begins = ("Stream", "XLA Ops") if devices else "tf_XLA"
    for plane in devices or planes:
        for line in plane.lines:
            if line.name.startswith(begins):
                for event in line.events:
                    yield event.name, event.duration_ns / 1e9
