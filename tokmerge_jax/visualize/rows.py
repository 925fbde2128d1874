"""Rows of pictures: a clip's frames, painted to show each merging layer's input and result."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from tokmerge_jax.visualize import patches
from tokmerge_jax.visualize.merges import Merge
from tokmerge_jax.visualize.patches import SALIENCY, Scale


@dataclasses.dataclass(frozen=True)
class Row:
    """A clip's frames painted in one way.

    Attributes:
      label: description, in at most two lines.
      frames: uint8 [T,Y,X,3], the same size as those of other rows.
      scale: colour scale of a heat map; None for other pictures.
    """

    label: str
    frames: np.ndarray
    scale: Scale | None = None


def overview(frames: UInt8[np.ndarray, "T H W 3"], merged: Sequence[Merge]) -> list[Row]:
    """Rows of a clip's pixels, saliency at the first merge, and groups after the last merge.

    Every group has its mean colour. Patches that are background at the first merge are dimmed.

    Args:
      frames: the network's input frames.
      merged: the merging layers, at least one.
    """
    frames = patches.enlarged(frames)
    first, last = merged[0], merged[-1]
    groups = patches.paint_groups(frames, last.groups)
    if first.saliency is not None:
        groups = patches.dim(groups, first.saliency == 0)
    label = f"{last.groups.size} tokens\nmerged to {last.tokens}"
    return [Row("frames", frames), *_saliency(frames, first), Row(label, groups)]


def details(frames: UInt8[np.ndarray, "T H W 3"], merged: Sequence[Merge]) -> list[Row]:
    """Rows of a clip's pixels, saliency and groups of every merging layer, and final token sizes.

    Merged patches have their group's mean colour and hue; merged background is dimmed.

    Args:
      frames: the network's input frames.
      merged: the merging layers, at least one.
    """
    frames = patches.enlarged(frames)
    rows, faded = [Row("frames", frames)], np.zeros(merged[0].groups.shape, bool)
    for merge in merged:
        faded |= merge.faded
        painted = patches.tint_groups(frames, merge.groups, faded)
        label = f"after {merge.layer}:\n{merge.tokens} tokens"
        rows += [*_saliency(frames, merge), Row(label, painted)]
    mass = merged[-1].mass
    scale = patches.mass_scale(mass)
    return [*rows, Row("final mass\nin patches", patches.paint_heat(frames, mass, scale), scale)]


def animation_rows(frames: UInt8[np.ndarray, "T H W 3"], merged: Sequence[Merge]) -> list[Row]:
    """The rows of `details` for an animation: pixels, first saliency, last groups, token sizes."""
    pixels, *between, groups, mass = details(frames, merged)
    return [pixels, *(row for row in between[:1] if row.scale is not None), groups, mass]


def _saliency(frames: np.ndarray, merge: Merge) -> list[Row]:
    if merge.saliency is None:
        return []
    painted = patches.paint_heat(frames, merge.saliency, SALIENCY)
    return [Row(f"saliency\nin {merge.layer}", painted, SALIENCY)]
