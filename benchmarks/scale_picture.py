"""Draws how time and memory grow with the work: a pair of panels for each axis of `scale.py`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator

from benchmarks.scale_axes import AXES, MEMORY, Axis
from benchmarks.scale_report import Row, rows
from tokmerge_jax.types import UserError

_COLUMNS = 4
_TIME, _MEMORY, _IDEAL, _GMAC = "#0072b2", "#d55e00", "0.6", "0.25"  # apart for all eyes
_BESIDE = {"merging": "frames"}  # axes that are drawn into the panels of another
_MIB = 2**20
_LEAST = 12  # the highest value of an axis over its lowest, so that flat looks flat


def draw(scale: Mapping[str, Any]) -> Figure:
    """Draws seconds and memory of each axis over its growth, both logarithmic.

    Args:
      scale: the content of scale.json.

    Raises:
      UserError: if no axis has two points.
    """
    known = {name: found for name in AXES if len(found := rows(scale, name)) > 1}
    shown = [name for name in known if _BESIDE.get(name) not in known]
    if not shown:
        raise UserError("there is nothing to draw; measure two points of an axis, see --help")
    lines = -(-len(shown) // _COLUMNS)
    result = Figure(figsize=(11, 4.1 * lines + 0.5), dpi=130, layout="constrained")
    grid = result.subplots(2 * lines, _COLUMNS, squeeze=False)
    for place, name in enumerate(shown):
        line, column = divmod(place, _COLUMNS)
        above, below = grid[2 * line, column], grid[2 * line + 1, column]
        _draw(above, below, AXES[name], known[name], filled=True)
        for other in (other for other, main in _BESIDE.items() if main == name and other in known):
            _draw(above, below, AXES[other], known[other], filled=False)
        above.set_title(AXES[name].title, fontsize=9)
        below.set_xlabel("times as much", fontsize=8)
        if not column:
            above.set_ylabel("seconds", fontsize=8)
            below.set_ylabel("MiB more", fontsize=8)
    for place in range(len(shown), lines * _COLUMNS):
        line, column = divmod(place, _COLUMNS)
        for axes in grid[2 * line : 2 * line + 2, column]:
            axes.set_axis_off()
    result.legend(
        handles=_key(bool(_BESIDE.keys() & known.keys())), loc="outside lower center", ncols=5,
        frameon=False, fontsize=8,
    )  # fmt: skip
    return result


def _draw(above: Axes, below: Axes, axis: Axis, measured: Sequence[Row], *, filled: bool) -> None:
    """Draws an axis's points, and beside the first kind of them what would be ideal."""
    amounts = [axis.amount(row["work"]) for row in measured]
    times = [amount / amounts[0] for amount in amounts]
    memory = [row["over"] / _MIB for row in measured]
    ideal = [memory[0] * more ** MEMORY[axis.memory] for more in times]
    series = (
        (above, [row["seconds"] for row in measured], _linear(amounts, measured[0]), _TIME, "o"),
        (below, memory, ideal, _MEMORY, "s"),
    )
    for axes, values, ideal, colour, marker in series:
        if filled:
            axes.plot(times, ideal, "--", color=_IDEAL, linewidth=1, zorder=1)
        (line,) = axes.plot(times, values, marker=marker, color=colour, markersize=4, linewidth=1.3)
        line.set_markerfacecolor(colour if filled else "white")
        _style(axes, times, [value for line in axes.lines for value in _values(line)])
    if filled and all("gmac" in row for row in measured):
        first = measured[0]
        counted = [first["seconds"] * row["gmac"] / first["gmac"] for row in measured]
        above.plot(times, counted, ":", color=_GMAC, linewidth=1.2, zorder=2)


def _linear(amounts: Sequence[float], first: Row) -> list[float]:
    """The seconds of a line through the least work and the first point."""
    least = first.get("least", {"work": 0, "seconds": 0.0})
    slope = (first["seconds"] - least["seconds"]) / (amounts[0] - least["work"])
    return [least["seconds"] + slope * (amount - least["work"]) for amount in amounts]


def _values(line: Line2D) -> list[float]:
    return np.asarray(line.get_ydata(), float).tolist()


def _style(axes: Axes, times: Sequence[float], values: Sequence[float]) -> None:
    """Logarithmic axes with a tick for each amount, and not too small a factor in height."""
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(times)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{more:.3g}" for more in times])
    least, most = min(values), max(values)
    room = max(_LEAST / (most / least), 1) ** 0.5 * 1.15
    axes.set_ylim(least / room, most * room)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _key(merging: bool) -> list[Line2D]:
    """The lines of the legend."""
    lines = [
        Line2D([], [], color=_TIME, marker="o", label="measured seconds"),
        Line2D([], [], color=_MEMORY, marker="s", label="memory beside what was held before"),
        Line2D([], [], color=_IDEAL, linestyle="--", label="linear (or flat, as it should be)"),
        Line2D([], [], color=_GMAC, linestyle=":", label="as GMAC grow"),
    ]
    if merging:
        hollow = Line2D([], [], color="0.35", marker="o", label="the same, merging")
        hollow.set_markerfacecolor("white")
        lines.insert(2, hollow)
    for line in lines:
        line.set_markersize(4)
    return lines
