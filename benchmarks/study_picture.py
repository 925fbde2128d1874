"""Draws a study: what is lost of the output against GMAC and against seconds, by merger."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tokmerge_jax.types import Json, UserError

_PANELS = (
    ("share", "cosine", "GMAC, of no merging", "1 - cosine"),
    ("share", "ranks", "GMAC, of no merging", "1 - rank correlation"),
    ("time_share", "cosine", "seconds, of no merging", "1 - cosine"),
)
_LINES: Mapping[str, Literal["-", ":"]] = {"even": "-", "configured": ":"}
_MARKERS = "os^D"
_LEAST = 1e-4  # smaller losses are drawn as this one


class Look(NamedTuple):
    """The look of a merger's lines."""

    color: tuple[float, ...]
    marker: str


def draw(study: Mapping[str, Mapping[str, Json]]) -> Figure:
    """Draws a row of panels for each configuration; a merger looks the same everywhere.

    Args:
      study: the content of study.json.

    Raises:
      UserError: if it is empty.
    """
    if not study:
        raise UserError("there is no study to draw; measure one, see --help")
    looks = _looks({row["merger"] for about in study.values() for row in about["points"]})
    result = Figure(figsize=(11, 3.1 * len(study) + 0.8), dpi=130, layout="constrained")
    grid = result.subplots(len(study), len(_PANELS), squeeze=False)
    for panels, (name, about) in zip(grid, study.items(), strict=True):
        for axes, (x, y, below, beside) in zip(panels, _PANELS, strict=True):
            _draw(axes, about["points"], (x, y), looks)
            axes.set(xlabel=below, ylabel=beside)
        panels[0].set_title(f"{name}, {about['gmac']:.3g} GMAC", loc="left", fontsize=10)
    lines = [Line2D([], [], label=name, **look._asdict()) for name, look in looks.items()]
    lines += [
        Line2D([], [], color="0.3", linestyle=style, label=f"{kind} schedule")
        for kind, style in _LINES.items()
    ]
    result.legend(handles=lines, loc="outside lower center", ncols=8, frameon=False, fontsize=8)
    return result


def _looks(mergers: set[str]) -> dict[str, Look]:
    """A colour for each family of mergers, the first word of their names; a marker for each."""
    families: dict[str, list[str]] = {}
    for name in sorted(mergers):
        families.setdefault(name.partition("_")[0], []).append(name)
    palette = matplotlib.colormaps["tab20"]
    colours = [
        palette(place) for place in (*range(0, 20, 2), *range(1, 20, 2))
    ]  # strong ones first
    return {
        name: Look(colours[place % len(colours)], _MARKERS[i % len(_MARKERS)])
        for place, names in enumerate(families.values())
        for i, name in enumerate(names)
    }


def _draw(
    axes: Axes,
    points: Sequence[Mapping[str, Json]],
    keys: tuple[str, str],
    looks: Mapping[str, Look],
) -> None:
    """Draws a line for each merger and schedule: the lower, the less is lost."""
    x, y = keys
    for merger, look in looks.items():
        for schedule, style in _LINES.items():
            own = [
                each for each in points if (each["merger"], each["schedule"]) == (merger, schedule)
            ]
            own.sort(key=lambda each: -each["share"])
            if own:
                lost = [max(1 - each[y], _LEAST) for each in own]
                axes.plot(
                    [each[x] for each in own], lost, style,
                    **look._asdict(), markersize=4, linewidth=1.1, alpha=0.85,
                )  # fmt: skip
    axes.set_yscale("log")
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.invert_xaxis()
