"""Frames painted with what merging did to their patches: arrays in, arrays out."""

import colorsys
import dataclasses

import matplotlib
import numpy as np
from einops import repeat
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib.colors import LogNorm, Normalize, PowerNorm

_FRAME_PIXELS = 224  # small frames are enlarged to about this edge, so that edges look thin
_GOLDEN_RATIO = 0.618034
_SATURATIONS = 0.85, 0.5  # of patches side by side
_TINT = 0.45  # how much of a merged patch is its group's hue
_HEAT = 0.7  # how much of a patch is its colour on a heat map
_DIMMED = 0.35


@dataclasses.dataclass(frozen=True)
class Scale:
    """What the colours of a heat map stand for.

    Attributes:
      norm: from numbers to [0,1].
      colours: Matplotlib's name of the colours of [0,1].
      ticks: numbers to tell beside the colours, the least and the most among them.
    """

    norm: Normalize
    colours: str
    ticks: tuple[float, ...]

    def paint(self, values: np.ndarray) -> np.ndarray:
        """Numbers of any shape -> RGB in [0,1]."""
        share = np.asarray(self.norm(values.ravel())).reshape(values.shape)  # LogNorm takes rows
        return matplotlib.colormaps[self.colours](share)[..., :3]


SALIENCY = Scale(PowerNorm(0.5, 0, 1), "inferno", (0.0, 0.1, 0.5, 1.0))
"""Weights in [0,1]; the root of the weight, for most are small."""


def mass_scale(mass: Float[np.ndarray, "T h w"]) -> Scale:
    """From 1 patch to the heaviest token's, by the logarithm."""
    most = max(float(mass.max()), 2.0)
    steps = [float(lead * 10**power) for power in range(6) for lead in (1, 2, 5)]
    ticks = [step for step in steps if step < most / 1.3]  # numbers that do not touch the last
    return Scale(LogNorm(1, most), "viridis", (*ticks, round(most, 1)))


def paint_heat(
    frames: UInt8[np.ndarray, "T H W 3"], values: Float[np.ndarray, "T h w"], scale: Scale
) -> UInt8[np.ndarray, "T H W 3"]:
    """Grey frames under a heat map of their patches."""
    heat = 255 * _over(scale.paint(values), frames)
    grey = frames.mean(axis=-1, keepdims=True)
    return ((1 - _HEAT) * grey + _HEAT * heat).astype(np.uint8)


def paint_groups(
    frames: UInt8[np.ndarray, "T H W 3"],
    groups: Int[np.ndarray, "T h w"],
    edge_colours: Float[np.ndarray, "G 3"] | None = None,
) -> UInt8[np.ndarray, "T H W 3"]:
    """Fills each group with its mean colour over all frames, and edges it.

    Source: ToMe (ICLR 2023), figure 4.

    Args:
      frames: H and W are multiples of h and w.
      groups: numbers of groups; a group may lie in several frames, in several pieces.
      edge_colours: RGB in [0,1] of each group, by its number; None = `group_colours`.
    """
    colours = group_colours(groups) if edge_colours is None else edge_colours[groups]
    labels = _over(groups, frames)
    edges = group_edges(labels)[..., None]
    picture = np.where(edges, 255 * _over(colours, frames), _means(frames, labels))
    return picture.astype(np.uint8)


def tint_groups(
    frames: UInt8[np.ndarray, "T H W 3"],
    groups: Int[np.ndarray, "T h w"],
    faded: Bool[np.ndarray, "T h w"],
) -> UInt8[np.ndarray, "T H W 3"]:
    """Fills what merged with its group's mean colour and hue, and edges it; the rest is as it was.

    Args:
      frames: H and W are multiples of h and w.
      groups: numbers of groups; a group may lie in several frames, in several pieces.
      faded: patches to darken within their edges.
    """
    labels = _over(groups, frames)
    merged = (np.bincount(groups.ravel()) > 1)[labels]
    hues = 255 * _over(group_colours(groups), frames)
    filled = dim((1 - _TINT) * _means(frames, labels) + _TINT * hues, faded)
    picture = np.where(merged[..., None], filled, frames)
    return np.where((group_edges(labels) & merged)[..., None], hues, picture).astype(np.uint8)


def group_colours(groups: Int[np.ndarray, "T h w"]) -> Float[np.ndarray, "T h w 3"]:
    """RGB in [0,1] of each patch's group, told by the group's first patch.

    A group that grows keeps its colour while its first patch stays; neighbours differ in it.
    """
    _, first, labels = np.unique(groups, return_index=True, return_inverse=True)
    colours = [
        colorsys.hsv_to_rgb(patch * _GOLDEN_RATIO % 1, _SATURATIONS[patch % 2], 1.0)
        for patch in first.tolist()
    ]
    return np.array(colours)[labels.reshape(groups.shape)]


def group_edges(labels: Int[np.ndarray, "T H W"]) -> Bool[np.ndarray, "T H W"]:
    """Pixels beside another group, or beside the frame's border."""
    around = np.pad(labels, ((0, 0), (1, 1), (1, 1)), constant_values=-1)
    vertical, horizontal = around[:, :, 1:-1], around[:, 1:-1, :]
    neighbours = (vertical[:, :-2], vertical[:, 2:], horizontal[..., :-2], horizontal[..., 2:])
    return np.any([neighbour != labels for neighbour in neighbours], axis=0)


def enlarged(frames: UInt8[np.ndarray, "T H W 3"]) -> UInt8[np.ndarray, "T Y X 3"]:
    """Small frames several times as large, so that edges of groups look thin."""
    zoom = max(1, round(_FRAME_PIXELS / frames.shape[1]))
    return repeat(frames, "t h w c -> t (h i) (w j) c", i=zoom, j=zoom)


def dim(frames: np.ndarray, background: Bool[np.ndarray, "T h w"]) -> np.ndarray:
    """Darkens patches [T,h,w] of frames [T,H,W,3], of any type."""
    light = np.where(_over(background, frames), _DIMMED, 1)
    return (frames * light[..., None]).astype(frames.dtype)


def _means(frames: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean colours [T,H,W,3] over all pixels of a label."""
    labels = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
    counts = np.bincount(labels.ravel())
    sums = [np.bincount(labels.ravel(), frames[..., channel].ravel()) for channel in range(3)]
    return (np.stack(sums, axis=1) / counts[:, None])[labels]


def _over(patches: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """[T,h,w,...] -> [T,H,W,...], each value over the pixels of its patch."""
    high, wide = (frames.shape[axis] // patches.shape[axis] for axis in (1, 2))
    return repeat(patches, "t h w ... -> t (h i) (w j) ...", i=high, j=wide)
