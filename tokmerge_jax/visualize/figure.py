"""Figures of clips: rows of frames, painted with what each merging layer saw and did."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from tokmerge_jax.visualize.patches import (
    MASS_COLOURS,
    Merge,
    dim,
    enlarged,
    paint_groups,
    paint_mass,
    paint_saliency,
    tint_groups,
)

Rows = Mapping[str, UInt8[np.ndarray, "T Y X 3"]]
"""Painted frames by label."""

_MASS = "mass of tokens"


def overview(frames: UInt8[np.ndarray, "T H W 3"], merged: Sequence[Merge]) -> Rows:
    """A clip's pixels, saliency at its first merge, and groups after its last.

    Patches that are background at the first merge are dimmed.

    Args:
      frames: as the network sees them.
      merged: at least one.
    """
    frames = enlarged(frames)
    first, last = merged[0], merged[-1]
    rows = {"frames": frames}
    if first.saliency is not None:
        rows["saliency"] = paint_saliency(frames, first.saliency)
    groups = paint_groups(frames, last.groups)
    if first.saliency is not None:
        groups = dim(groups, first.saliency == 0)
    return {**rows, f"{last.groups.size} tokens\nmerged to {last.tokens}": groups}


def details(frames: UInt8[np.ndarray, "T H W 3"], merged: Sequence[Merge]) -> Rows:
    """A clip's pixels, saliency and groups of every merging layer, and the tokens' final mass.

    What merged is tinted, a hue for each group; what was background is dimmed.

    Args:
      frames: as the network sees them.
      merged: at least one.
    """
    frames = enlarged(frames)
    rows, gone = {"frames": frames}, np.zeros(merged[0].groups.shape, bool)
    for number, merge in enumerate(merged, start=1):
        counts = np.bincount(merge.groups.ravel())
        if merge.saliency is not None:
            rows[f"saliency\nat merge {number}"] = paint_saliency(frames, merge.saliency)
            gone |= (merge.saliency == 0) & (counts[merge.groups] > 1)
        label = f"after merge {number}:\n{merge.tokens} tokens"
        rows[label] = dim(tint_groups(frames, merge.groups), gone)
    mass = merged[-1].mass
    return rows if mass is None else {**rows, _MASS: paint_mass(frames, mass)}


def figure(
    rows: Sequence[Rows], titles: Sequence[str], columns: int = 8, heaviest: float = 0.0
) -> Figure:
    """The rows of several clips one below the other.

    Args:
      rows: of each clip.
      titles: a line above each clip.
      columns: how many frames to show at most, evenly spaced; colours stand for all frames.
      heaviest: the largest mass, for the scale of its row; 0 = there is none.
    """
    length = len(next(iter(rows[0].values())))
    count = min(columns, length)
    shown = np.linspace(0, length - 1, count).round().astype(int)
    heights = [len(pictures) for pictures in rows]
    size = (1.5 * count + 1, 1.5 * sum(heights) + 0.5 * len(rows))
    result = Figure(figsize=size, layout="constrained")
    parts = result.subfigures(len(rows), 1, squeeze=False, height_ratios=heights)
    for part, pictures, title in zip(parts[:, 0], rows, titles, strict=True):
        part.suptitle("\n".join(textwrap.wrap(title, 15 * count)))
        axes = part.subplots(len(pictures), count, squeeze=False)
        for (label, frames), line in zip(pictures.items(), axes, strict=True):
            line[0].set_ylabel(label)
            for axis, frame in zip(line, frames[shown], strict=True):
                axis.imshow(frame)
                axis.set(xticks=[], yticks=[])
            if label == _MASS and heaviest > 1:
                scale = ScalarMappable(LogNorm(1, heaviest), MASS_COLOURS)
                bar = part.colorbar(scale, ax=line, location="bottom", aspect=90)
                bar.set_label("patches that the token of a place stands for")
                bar.set_ticks(ticks := _ticks(heaviest), labels=[f"{tick:g}" for tick in ticks])
                bar.ax.minorticks_off()
    return result


def _ticks(heaviest: float) -> list[float]:
    """1, 2, 5, 10, 20, ... up to the largest mass."""
    steps = [lead * 10**power for power in range(6) for lead in (1, 2, 5)]
    return [step for step in steps if step <= heaviest]
