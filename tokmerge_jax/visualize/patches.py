"""Paints frames to show what merging did to their patches: arrays in, arrays out."""

import colorsys
import dataclasses

import matplotlib
import numpy as np
from einops import repeat
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib.colors import LogNorm, Normalize, PowerNorm

_FRAME_PIXELS = 224  # small frames are enlarged to about this edge, so that outlines look thin
_GOLDEN_RATIO = 0.618034
_SATURATIONS = 0.85, 0.5  # alternate between neighbouring patches
_TINT = 0.45  # share of the group's hue in a merged patch
_HEAT = 0.7  # share of the heat map's colour in a patch
_DIMMED = 0.35


@dataclasses.dataclass(frozen=True)
class Scale:
    """The colour scale of a heat map.

    Attributes:
      norm: numbers -> [0,1].
      colours: Matplotlib's name of the colour map.
      ticks: numbers that label the scale, including its ends.
    """

    norm: Normalize
    colours: str
    ticks: tuple[float, ...]

    def paint(self, values: np.ndarray) -> np.ndarray:
        """Numbers of any shape -> RGB in [0,1]."""
        share = np.asarray(self.norm(values.ravel())).reshape(values.shape)  # LogNorm takes rows
        return matplotlib.colormaps[self.colours](share)[..., :3]


SALIENCY = Scale(PowerNorm(0.5, 0, 1), "inferno", (0.0, 0.1, 0.5, 1.0))
"""The scale of saliency in [0,1], on a root scale, since most weights are small."""


def mass_scale(mass: Float[np.ndarray, "T h w"]) -> Scale:
    """The scale of token sizes, from 1 to the largest, logarithmic."""
    most = max(float(mass.max()), 2.0)
    steps = [float(lead * 10**power) for power in range(6) for lead in (1, 2, 5)]
    ticks = [step for step in steps if step < most / 1.3]  # labels that do not overlap the last
    return Scale(LogNorm(1, most), "viridis", (*ticks, round(most, 1)))


def paint_heat(
    frames: UInt8[np.ndarray, "T H W 3"], values: Float[np.ndarray, "T h w"], scale: Scale
) -> UInt8[np.ndarray, "T H W 3"]:
    """Paints a heat map of patches over grey frames."""
    heat = 255 * _over(scale.paint(values), frames)
    grey = frames.mean(axis=-1, keepdims=True)
    return ((1 - _HEAT) * grey + _HEAT * heat).astype(np.uint8)


def paint_groups(
    frames: UInt8[np.ndarray, "T H W 3"], groups: Int[np.ndarray, "T h w"]
) -> UInt8[np.ndarray, "T H W 3"]:
    """Fills each group with its mean colour over all frames and outlines it.

    Source: ToMe (ICLR 2023), figure 4.

    Args:
      frames: H and W are multiples of h and w.
      groups: group number of each patch; a group may span frames and be disconnected.
    """
    labels = _over(groups, frames)
    edges = group_edges(labels)[..., None]
    picture = np.where(edges, 255 * _over(group_colours(groups), frames), _means(frames, labels))
    return picture.astype(np.uint8)


def tint_groups(
    frames: UInt8[np.ndarray, "T H W 3"],
    groups: Int[np.ndarray, "T h w"],
    faded: Bool[np.ndarray, "T h w"],
) -> UInt8[np.ndarray, "T H W 3"]:
    """Fills merged patches with their group's mean colour and hue and outlines them.

    Patches that did not merge stay unchanged.

    Args:
      frames: H and W are multiples of h and w.
      groups: group number of each patch; a group may span frames and be disconnected.
      faded: marks patches to darken inside their outlines.
    """
    labels = _over(groups, frames)
    merged = (np.bincount(groups.ravel()) > 1)[labels]
    hues = 255 * _over(group_colours(groups), frames)
    filled = dim((1 - _TINT) * _means(frames, labels) + _TINT * hues, faded)
    picture = np.where(merged[..., None], filled, frames)
    return np.where((group_edges(labels) & merged)[..., None], hues, picture).astype(np.uint8)


def group_colours(groups: Int[np.ndarray, "T h w"]) -> Float[np.ndarray, "T h w 3"]:
    """RGB in [0,1] of each patch's group, determined by the group's first patch.

    A growing group keeps its colour as long as its first patch stays; neighbours differ in colour.
    """
    _, first, labels = np.unique(groups, return_index=True, return_inverse=True)
    colours = [
        colorsys.hsv_to_rgb(patch * _GOLDEN_RATIO % 1, _SATURATIONS[patch % 2], 1.0)
        for patch in first.tolist()
    ]
    return np.array(colours)[labels.reshape(groups.shape)]


def group_edges(labels: Int[np.ndarray, "T H W"]) -> Bool[np.ndarray, "T H W"]:
    """Marks pixels next to another group or to the frame's border."""
    around = np.pad(labels, ((0, 0), (1, 1), (1, 1)), constant_values=-1)
    vertical, horizontal = around[:, :, 1:-1], around[:, 1:-1, :]
    neighbours = (vertical[:, :-2], vertical[:, 2:], horizontal[..., :-2], horizontal[..., 2:])
    return np.any([neighbour != labels for neighbour in neighbours], axis=0)


def enlarged(frames: UInt8[np.ndarray, "T H W 3"]) -> UInt8[np.ndarray, "T Y X 3"]:
    """Enlarges small frames by a whole factor, so that outlines look thin."""
    zoom = max(1, round(_FRAME_PIXELS / frames.shape[1]))
    return repeat(frames, "t h w c -> t (h i) (w j) c", i=zoom, j=zoom)


def dim(frames: np.ndarray, background: Bool[np.ndarray, "T h w"]) -> np.ndarray:
    """Darkens the marked patches [T,h,w] of frames [T,H,W,3] of any dtype."""
    light = np.where(_over(background, frames), _DIMMED, 1)
    return (frames * light[..., None]).astype(frames.dtype)


def _means(frames: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean colour [T,H,W,3] over all pixels with the same label."""
    labels = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
    counts = np.bincount(labels.ravel())
    sums = [np.bincount(labels.ravel(), frames[..., channel].ravel()) for channel in range(3)]
    return (np.stack(sums, axis=1) / counts[:, None])[labels]


def _over(patches: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """[T,h,w,...] -> [T,H,W,...]: repeats each value over the pixels of its patch."""
    high, wide = (frames.shape[axis] // patches.shape[axis] for axis in (1, 2))
    return repeat(patches, "t h w ... -> t (h i) (w j) ...", i=high, j=wide)
