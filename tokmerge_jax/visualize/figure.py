"""Figures of clips for a paper: rows of painted frames."""

from collections.abc import Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from tokmerge_jax.visualize.letters import put_title
from tokmerge_jax.visualize.rows import Row

_FRAME = 1.12  # edge of a frame in inches: 224 pixels at `PRINT`
PRINT = 200
"""Dots per inch for saving; on a screen, half as many suffice."""

_LETTERS = 20  # letters of a title per frame


def figure(clips: Sequence[Sequence[Row]], titles: Sequence[str], columns: int = 8) -> Figure:
    """Draws the rows of several clips, one below the other, with the scales of heat maps.

    Args:
      clips: the rows of each clip; all frames have the same shape.
      titles: a line above each clip.
      columns: largest number of frames to show, evenly spaced and numbered from 1.
    """
    frames = len(clips[0][0].frames)
    shown = np.linspace(0, frames - 1, min(columns, frames)).round().astype(int)
    heights = [_FRAME * len(rows) + 0.4 for rows in clips]
    size = (_FRAME * len(shown) + 1, sum(heights))
    layout = ConstrainedLayoutEngine(w_pad=0.015, h_pad=0.015, wspace=0, hspace=0)
    result = Figure(figsize=size, layout=layout)
    parts = result.subfigures(len(clips), 1, squeeze=False, height_ratios=heights)
    for part, rows, title in zip(parts[:, 0], clips, titles, strict=True):
        put_title(part, title, _LETTERS * len(shown))
        ratios = [1] * len(shown) + [0.07]
        axes = part.subplots(len(rows), len(ratios), squeeze=False, width_ratios=ratios)
        for row, line in zip(rows, axes, strict=True):
            _draw(row, shown, line)
        for place, axis in zip(shown.tolist(), axes[0], strict=False):
            axis.set_title(str(place + 1), fontsize=6, pad=2)
    return result


def _draw(row: Row, shown: np.ndarray, axes: np.ndarray) -> None:
    """Draws frames into all axes but the last one, which shows the scale."""
    axes[0].set_ylabel(row.label, fontsize=8)
    for axis, frame in zip(axes[:-1], row.frames[shown], strict=True):
        axis.imshow(frame)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    if row.scale is None:
        axes[-1].axis("off")
        return
    colours = ScalarMappable(row.scale.norm, row.scale.colours)
    bar = axes[-1].figure.colorbar(colours, cax=axes[-1])
    bar.set_ticks(row.scale.ticks, labels=[f"{tick:g}" for tick in row.scale.ticks])
    bar.minorticks_off()
    axes[-1].tick_params(labelsize=7, length=2)
