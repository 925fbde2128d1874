"""Plots measured against predicted seconds of merging schedules, and speed-up against GMAC."""

from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tokmerge_jax.types import Json

_LINE = "0.35"  # the grey of the reference lines
_GAP = 0.052  # smallest distance of names, as a share of a panel's height


def draw(rows: Sequence[Mapping[str, Json]], title: str) -> Figure:
    """Plots measured against predicted seconds, and measured speed-up against the ratio of GMAC.

    A schedule has the same colour in both panels; names are at the right.

    Args:
      rows: one row per schedule, the first without merging ("merging", "seconds", "predicted",
        "times_as_fast", "mac_ratio").
      title: a line above the figure.
    """
    result = Figure(figsize=(10, 3.8), dpi=200, layout="constrained")
    result.suptitle(title, fontsize=10, parse_math=False)
    left, right = result.subplots(1, 2)
    _draw(left, rows, ("predicted", "seconds"), "as predicted")
    left.set(xlabel="s per clip, predicted from other schedules", ylabel="s per clip, measured")
    _draw(right, rows, ("mac_ratio", "times_as_fast"), "proportional to GMAC")
    right.set(xlabel="GMAC without merging / GMAC", ylabel="measured speed-up")
    return result


def _draw(axes: Axes, rows: Sequence[Mapping[str, Json]], keys: tuple[str, str], line: str) -> None:
    """Draws points, their names, and the line of equality."""
    x, y = ([row[key] for row in rows] for key in keys)
    ends = min(*x, *y), max(*x, *y)
    axes.plot(ends, ends, "--", color=_LINE, linewidth=1, label=line)
    colours = matplotlib.colormaps["viridis"]
    for place, point in enumerate(zip(x, y, strict=True)):
        axes.plot(*point, "o", color=colours(0.9 * place / len(rows)), ms=5)
    axes.margins(0.06)
    axes.legend(loc="upper left", frameon=False, fontsize=8)
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    # Names stand beside the panel, at the height of their points but without overlap.
    low, high = axes.get_ylim()
    order = sorted(range(len(rows)), key=lambda i: (y[i], -x[i]))  # so that lines do not cross
    heights = dict(zip(order, _apart([(y[i] - low) / (high - low) for i in order]), strict=True))
    for i, row in enumerate(rows):
        axes.annotate(
            row["merging"], (x[i], y[i]), (1.02, heights[i]), xycoords="data",
            textcoords="axes fraction", va="center", fontsize=7, parse_math=False,
            arrowprops={"arrowstyle": "-", "color": "0.75", "linewidth": 0.5, "shrinkA": 0},
        )  # fmt: skip


def _apart(heights: Sequence[float]) -> list[float]:
    """Moves ascending heights as little as possible to keep `_GAP` between neighbours.

    Heights that are too close form a group, placed at the mean of its members' wishes; groups that
    are too close are joined.
    """
    groups: list[list[float]] = []  # where each member wants its group to begin
    for height in heights:
        last = [height]
        while groups and _mean(last) < _mean(groups[-1]) + _GAP * len(groups[-1]):
            before = groups.pop()
            last = before + [want - _GAP * len(before) for want in last]
        groups.append(last)
    return [_mean(group) + _GAP * i for group in groups for i in range(len(group))]


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)
