"""Draws a study: what is kept of the output against GMAC and against seconds, by merger."""

from collections.abc import Mapping, Sequence
from typing import Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tokmerge_jax.types import Json, UserError

_PANELS = (
    ("share", "cosine", "GMAC, of no merging", "cosine with no merging"),
    ("share", "ranks", "GMAC, of no merging", "rank correlation"),
    ("time_share", "cosine", "seconds, of no merging", "cosine with no merging"),
)
_LINES: Mapping[str, Literal["-", ":"]] = {"even": "-", "configured": ":"}


def draw(study: Mapping[str, Mapping[str, Json]]) -> Figure:
    """Draws a row of panels for each configuration; a merger has one colour everywhere.

    Args:
      study: the content of study.json.

    Raises:
      UserError: if it is empty.
    """
    if not study:
        raise UserError("there is no study to draw; measure one, see --help")
    mergers = sorted({row["merger"] for about in study.values() for row in about["points"]})
    palette = matplotlib.colormaps["tab20"]
    colours = {name: palette(place % palette.N) for place, name in enumerate(mergers)}
    result = Figure(figsize=(11, 2.9 * len(study) + 0.6), dpi=130, layout="constrained")
    grid = result.subplots(len(study), len(_PANELS), squeeze=False)
    for panels, (name, about) in zip(grid, study.items(), strict=True):
        for axes, (x, y, below, beside) in zip(panels, _PANELS, strict=True):
            _draw(axes, about["points"], (x, y), colours)
            axes.set(xlabel=below, ylabel=beside)
        panels[0].set_title(f"{name}, {about['gmac']:.3g} GMAC", loc="left", fontsize=10)
    lines = [Line2D([], [], color=colours[name], label=name) for name in mergers]
    lines += [
        Line2D([], [], color="0.3", linestyle=style, label=f"{kind} schedule")
        for kind, style in _LINES.items()
    ]
    result.legend(handles=lines, loc="outside lower center", ncols=7, frameon=False, fontsize=8)
    return result


def _draw(
    axes: Axes,
    points: Sequence[Mapping[str, Json]],
    keys: tuple[str, str],
    colours: Mapping[str, tuple[float, ...]],
) -> None:
    """Draws a line for each merger and schedule, which begins without merging at (1, 1)."""
    for merger, colour in colours.items():
        for schedule, style in _LINES.items():
            own = [x for x in points if (x["merger"], x["schedule"]) == (merger, schedule)]
            own.sort(key=lambda each: -each["share"])
            if own:
                x, y = ([1.0, *(each[key] for each in own)] for key in keys)
                axes.plot(x, y, style, color=colour, marker="o", markersize=3, linewidth=1.2)
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.invert_xaxis()
