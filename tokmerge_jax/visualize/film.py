"""Draws which frames of a clip merged, and which patches merged in the remaining frames."""

import colorsys
import textwrap
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from tokmerge_jax.visualize import patches
from tokmerge_jax.visualize.letters import put_title
from tokmerge_jax.visualize.merges import Merge

_FRAME, _TITLE = 1.12, 0.14  # inches: edge of a frame, height of the line above it
_HEAD = 0.25  # height in inches of the line above all frames
_COLUMNS = 8  # number of frames per line
_LETTERS = 22  # letters of a line above one frame
_WIDE = 11  # letters of the title per frame
_ALONE = (0.6, 0.6, 0.6)  # colour of frames that did not merge
_EDGE = 3  # width in points of the border of a merged frame


def film(frames: UInt8[np.ndarray, "T H W 3"], merge: Merge, title: str) -> Figure:
    """Draws all frames, with borders in the colour of their group, and below them each group.

    A group is drawn as its first frame, filled with the mean colours of its tokens over all its
    frames. Frames are numbered from 1.

    Args:
      frames: the network's input frames.
      merge: the last merge of a network that merges frames.
      title: a line above the figure.
    """
    assert merge.frames is not None
    groups = _groups(merge.frames)
    colours = _colours(groups, len(frames))
    large = patches.enlarged(frames)
    painted = patches.paint_groups(large, merge.groups)
    firsts = [group[0] for group in groups]
    counts = len(frames), len(groups)
    lines = [-(-count // _COLUMNS) for count in counts]
    heights = [_HEAD + line * (_FRAME + _TITLE) for line in lines]
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    result = Figure((_FRAME * _COLUMNS, sum(heights) + _HEAD), dpi=200, layout=layout)
    put_title(result, title, _WIDE * _COLUMNS)
    above, below = result.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
    each = {member: group for group in groups for member in group}
    _strip(above, large, [_numbers_of([i], each[i]) for i in range(len(frames))], colours)
    above.suptitle(f"{counts[0]} frames merged to {counts[1]}: equal colours merged", fontsize=8)
    names = [_numbers_of(group, group) for group in groups]
    _strip(below, painted[firsts], names, colours[firsts])
    left = merge.tokens // counts[1]
    below.suptitle(f"{counts[1]} frames of {left} tokens each", fontsize=8)
    return result


def _groups(frames: np.ndarray) -> list[list[int]]:
    """The input frames in each remaining frame, in the order of their first frames."""
    groups: dict[int, list[int]] = {}
    for frame, holder in enumerate(frames.tolist()):
        groups.setdefault(holder, []).append(frame)
    return list(groups.values())


def _colours(groups: Sequence[Sequence[int]], count: int) -> Float[np.ndarray, "T 3"]:
    """RGB in [0,1] of each of `count` frames: a different hue for every group."""
    colours = np.tile(_ALONE, (count, 1))
    merged = [group for group in groups if len(group) > 1]
    for place, group in enumerate(merged):
        colours[group] = colorsys.hsv_to_rgb(place / len(merged), 0.85, 0.9)
    return colours


def _numbers_of(shown: Sequence[int], group: Sequence[int]) -> str:
    """The numbers of the frames `shown` and of those that they merged with, as text."""
    others = [member for member in group if member not in shown]
    text = ", ".join(str(member + 1) for member in shown)
    if others:
        text += f" with {', '.join(str(member + 1) for member in others)}"
    return textwrap.shorten(text, _LETTERS, placeholder=" ...")


def _strip(
    part: SubFigure, pictures: np.ndarray, names: Sequence[str], colours: np.ndarray
) -> None:
    """Draws pictures in lines, each with its name above and a border in its colour."""
    axes = part.subplots(-(-len(pictures) // _COLUMNS), _COLUMNS, squeeze=False).ravel()
    for axis in axes[len(pictures) :]:
        axis.axis("off")
    for axis, picture, name, colour in zip(axes, pictures, names, colours, strict=False):
        axis.imshow(picture)
        axis.set(xticks=[], yticks=[])
        axis.set_title(name, fontsize=6, pad=3)
        edge = tuple(colour.tolist())
        axis.spines[:].set(color=edge, linewidth=0.5 if edge == _ALONE else _EDGE)
