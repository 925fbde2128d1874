"""Plots the metric of runs against what they cost."""

import collections
import pathlib
from collections.abc import Collection, Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tokmerge_jax.types import Json

_NAMED = 5  # the names of more runs than these would overlap
_NEAR = 0.05  # share of the GMAC within which names would overlap
_ABOVE, _BELOW = (0, 7), (0, -14)  # the place of a name beside its point, in points


Point = tuple[float, float]
"""What a run costs, in GMAC, and what it reaches, in percent."""


def draw(runs: Mapping[str, Mapping[str, Json]]) -> Figure:
    """Plots the headline metric against GMAC: a curve for each merger and checkpoint.

    A merger's curve begins at the most expensive run of its checkpoint without merging. Up to
    five runs are named.

    Args:
      runs: name -> the content of results.json, of one data set and task.
    """
    result = Figure(figsize=(6.4, 3.8), dpi=100, layout="constrained")
    axes = result.subplots()
    for label, curve in _curves(runs).items():
        axes.plot(*zip(*sorted(curve), strict=True), "o-", label=label)
    if len(runs) <= _NAMED:
        _name(axes, {name: _point(run) for name, run in runs.items()})
    first = next(iter(runs.values()))
    metric, dataset = first["headline"]["name"], first["protocol"]["dataset"]
    axes.set(title=dataset, xlabel="GMAC", ylabel=f"{metric}, %")
    axes.margins(0.15)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(title="merger (weights)", frameon=False, fontsize=8, title_fontsize=8)
    return result


def _point(run: Mapping[str, Json]) -> Point:
    return run["gmac"], run["headline"]["value"]


def _curves(runs: Mapping[str, Mapping[str, Json]]) -> dict[str, list[Point]]:
    """The label of each merger and checkpoint -> the points of its runs."""
    members: dict[tuple[str, str], list[Point]] = {}
    for run in runs.values():
        config = run["config"]
        key = config["model"]["merger"]["name"], config["checkpoint"]
        members.setdefault(key, []).append(_point(run))
    names = short({checkpoint for _, checkpoint in members})
    curves = {}
    for (merger, checkpoint), points in members.items():
        plain = members.get(("none", checkpoint), [])
        start = [] if merger == "none" or not plain else [max(plain)]
        curves[f"{merger} ({names[checkpoint]})"] = [*start, *points]
    return curves


def short(checkpoints: Collection[str]) -> dict[str, str]:
    """Each checkpoint's name without folders and suffix, or whole where others have the same."""
    stems = {each: pathlib.PurePath(each).stem for each in checkpoints}
    count = collections.Counter(stems.values())
    return {each: stem if count[stem] == 1 else each for each, stem in stems.items()}


def _name(axes: Axes, points: Mapping[str, Point]) -> None:
    """Writes each run's name above its point, or below where another is near."""
    for name, (gmac, value) in points.items():
        under = any(abs(x - gmac) < _NEAR * gmac and y > value for x, y in points.values())
        axes.annotate(
            name, (gmac, value), _BELOW if under else _ABOVE,
            textcoords="offset points", ha="center", size=8, parse_math=False,
        )  # fmt: skip
