"""Draws the confusion matrix of action recognition."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from tokmerge_jax.types import Json
from tokmerge_jax.visualize.letters import fonts, put_title, wrapped
from tokmerge_jax.visualize.patches import Scale

_NAMED = 30  # largest number of actions that get names and counts
_CELL = 0.42  # edge of a cell in inches
_LETTERS = 32  # per line of a name, which may have three lines
_TITLE_LETTERS = 13  # letters of the title per inch
_DARK = 30  # per cent; counts on darker cells are white
_LARGE = 11.4, 6.4  # inches of the picture for many actions: matrix and list of pairs
_LIST_LETTERS = 58  # letters per line of the list
_LIST_LINES = 36
_LINE = 11.0  # points
_SHARES = Scale(PowerNorm(0.35, 0, 100), "Blues", (0.0, 0.1, 1.0, 5.0, 20.0, 50.0, 100.0))
"""Per cent of a row, on a root scale, since most mistakes are rare."""


def draw(
    matrix: Int[np.ndarray, "C C"],
    names: Sequence[str],
    confused: Sequence[Mapping[str, Json]],
    title: str,
) -> Figure:
    """Draws the matrix; colours show the share of each row.

    With few actions, the picture shows their names and the counts. With many, it lists the pairs
    that were confused most often.

    Args:
      matrix: number of videos by true action (row) and predicted action (column).
      names: names of the actions.
      confused: pairs of actions, as in results.json ("action", "taken_for", "count").
      title: a line above the matrix.
    """
    few, edge = len(names) <= _NAMED, _CELL * len(names)
    size = (edge + 3.6, edge + 2.8) if few else _LARGE
    result = Figure(figsize=size, dpi=200, layout="constrained")
    put_title(result, title, round(size[0] * _TITLE_LETTERS), size=11)
    widths = [1.0] if few else [1.6, 1.0]
    axes, *beside = result.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0]
    _draw_shares(axes, 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1))
    if few:
        _write_cells(axes, matrix, names)
    for place in beside:
        _write_pairs(place, confused)
    return result


def _draw_shares(axes: Axes, shares: Float[np.ndarray, "C C"]) -> None:
    axes.imshow(shares, _SHARES.colours, _SHARES.norm, interpolation="nearest")
    axes.set_xlabel("taken for", fontsize=9)
    axes.set_ylabel("action", fontsize=9)
    axes.tick_params(labelsize=8)
    scale = ScalarMappable(_SHARES.norm, _SHARES.colours)
    bar = axes.figure.colorbar(scale, cax=axes.inset_axes((1.02, 0, 0.04, 1)))
    bar.set_ticks(_SHARES.ticks, labels=[f"{tick:g}" for tick in _SHARES.ticks])
    bar.minorticks_off()
    bar.set_label("% of the action's videos", fontsize=8)
    bar.ax.tick_params(labelsize=7, length=2)


def _write_cells(axes: Axes, matrix: Int[np.ndarray, "C C"], names: Sequence[str]) -> None:
    """The actions' names on both axes, and the number of videos in each cell that has some."""
    labels = [wrapped(name, _LETTERS, most=3) for name in names]
    font = fonts("".join(labels))
    settings: dict[str, Json] = {"fontproperties": font, "fontsize": 7, "parse_math": False}
    axes.set_xticks(range(len(names)), labels, rotation=90, **settings)
    axes.set_yticks(range(len(names)), labels, **settings)
    videos = matrix.sum(axis=1)
    for row, column in np.argwhere(matrix).tolist():
        dark = 100 * matrix[row, column] > _DARK * videos[row]
        colour = "white" if dark else "black"
        text = str(matrix[row, column])
        axes.text(column, row, text, color=colour, fontsize=8, ha="center", va="center")


def _write_pairs(axes: Axes, confused: Sequence[Mapping[str, Json]]) -> None:
    """Lists the first pairs, as many as fit, each with its count."""
    axes.axis("off")
    axes.set_title("most often confused, and in how many videos", fontsize=9, loc="left")
    lines = 0.5
    for pair in confused:
        line = wrapped(f"{pair['action']} → {pair['taken_for']}", _LIST_LETTERS)
        count = line.count("\n") + 1
        if lines + count > _LIST_LINES:
            break
        for left, text in ((0, str(pair["count"])), (26, line)):
            place = (left, -_LINE * lines)
            axes.annotate(text, (0, 1), place, xycoords="axes fraction", va="top",
                          textcoords="offset points", fontproperties=fonts(text), fontsize=8,
                          parse_math=False)  # fmt: skip
        lines += count + 0.5
