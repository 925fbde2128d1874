"""Which frames of a clip became one, and which patches did in the frames that are left."""

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

_FRAME, _TITLE = 1.12, 0.14  # inches of a frame's edge, and of the line above it
_HEAD = 0.25  # inches of the line above all frames
_COLUMNS = 8  # frames side by side
_LETTERS = 22  # of a line above one frame
_WIDE = 11  # of the title, over one frame
_ALONE = (0.6, 0.6, 0.6)  # colour of what did not merge
_EDGE = 3  # points around a frame that merged


def film(frames: UInt8[np.ndarray, "T H W 3"], merge: Merge, title: str) -> Figure:
    """All frames, those of one group edged alike; below, the patch groups of each that is left.

    A group of frames is told by its first frame, filled with the mean colours of its tokens over
    all its frames. Frames are numbered from 1.

    Args:
      frames: as the network sees them.
      merge: the last one, of a network that merges frames.
      title: a line above all.
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
    _strip(above, large, [_told([i], each[i]) for i in range(len(frames))], colours)
    above.suptitle(
        f"{counts[0]} frames merged to {counts[1]}: those of one colour are one", fontsize=8
    )
    names = [_told(group, group) for group in groups]
    _strip(below, painted[firsts], names, colours[firsts])
    left = merge.tokens // counts[1]
    below.suptitle(f"{counts[1]} frames of {left} tokens each", fontsize=8)
    return result


def _groups(frames: np.ndarray) -> list[list[int]]:
    """The frames of the input that became one, for each that is left; by their first frames."""
    found: dict[int, list[int]] = {}
    for frame, holder in enumerate(frames.tolist()):
        found.setdefault(holder, []).append(frame)
    return list(found.values())


def _colours(groups: Sequence[Sequence[int]], count: int) -> Float[np.ndarray, "T 3"]:
    """RGB in [0,1] of each of `count` frames: a hue of its own for every group."""
    colours = np.tile(_ALONE, (count, 1))
    merged = [group for group in groups if len(group) > 1]
    for place, group in enumerate(merged):
        colours[group] = colorsys.hsv_to_rgb(place / len(merged), 0.85, 0.9)
    return colours


def _told(shown: Sequence[int], group: Sequence[int]) -> str:
    """A frame's number and those that it merged with, or all of a group's."""
    others = [member for member in group if member not in shown]
    text = ", ".join(str(member + 1) for member in shown)
    if others:
        text += f" with {', '.join(str(member + 1) for member in others)}"
    return textwrap.shorten(text, _LETTERS, placeholder=" ...")


def _strip(
    part: SubFigure, pictures: np.ndarray, names: Sequence[str], colours: np.ndarray
) -> None:
    """Pictures in lines, each with its name above and its colour around it."""
    axes = part.subplots(-(-len(pictures) // _COLUMNS), _COLUMNS, squeeze=False).ravel()
    for axis in axes[len(pictures) :]:
        axis.axis("off")
    for axis, picture, name, colour in zip(axes, pictures, names, colours, strict=False):
        axis.imshow(picture)
        axis.set(xticks=[], yticks=[])
        axis.set_title(name, fontsize=6, pad=3)
        edge = tuple(colour.tolist())
        axis.spines[:].set(color=edge, linewidth=0.5 if edge == _ALONE else _EDGE)
