"""What merging did to the patches of a clip, and frames painted with it: arrays in, arrays out."""

import colorsys
import dataclasses
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from jaxtyping import Bool, Float, Int, Num, UInt8

_FRAME_PIXELS = 192  # frames are enlarged to about this edge, so that edges of groups look thin
_GOLDEN_RATIO = 0.618034
_TINT = 0.45  # how much of a merged patch is its group's hue
_DIMMED = 0.35

SALIENCY_COLOURS, MASS_COLOURS = "inferno", "viridis"
"""Names of matplotlib's maps."""


@dataclasses.dataclass(frozen=True)
class Merge:
    """What one merging layer did to a clip of T frames of h x w patches.

    Attributes:
      groups: int [T,h,w], the token that holds each patch afterwards.
      saliency: float [T,h,w] in [0,1], the weight of each patch's token before the merge, 0 for
        background; None if the merger asks for none.
      mass: float [T,h,w], the size of the token that holds each patch afterwards.
    """

    groups: np.ndarray
    saliency: np.ndarray | None = None
    mass: np.ndarray | None = None

    @property
    def tokens(self) -> int:
        """How many tokens are left."""
        return len(np.unique(self.groups))


def merges(
    trace: Mapping[str, Sequence[Num[np.ndarray, "B _"]]], clip: int, grid: tuple[int, int, int]
) -> tuple[Merge, ...]:
    """The merging layers of one clip, from what `predict["trace_video"]` tells of a batch.

    Args:
      trace: "origin" [B,N0] and "size" [B,N] after each merging layer; "saliency" [B,N] of the
        tokens that entered it, or an empty list.
      clip: the clip's place in the batch.
      grid: T, h and w; their product is N0.

    Returns:
      One `Merge` per layer, all patches of the input told.
    """
    found: list[Merge] = []
    before = np.arange(np.prod(grid)).reshape(grid)
    for layer, origin in enumerate(trace["origin"]):
        saliency = trace["saliency"][layer][clip][before] if trace["saliency"] else None
        before = np.asarray(origin[clip]).reshape(grid)
        found.append(Merge(before, saliency, trace["size"][layer][clip][before]))
    return tuple(found)


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
      edge_colours: of each group, in [0,1]; None = hues that lie far apart.
    """
    labels = _enlarge(groups, frames.shape[1:3])
    names, labels = np.unique(labels, return_inverse=True)
    labels = labels.reshape(frames.shape[:3])
    if edge_colours is None:
        edge_colours = _colours(int(names[-1]) + 1)
    counts = np.bincount(labels.ravel())
    sums = [np.bincount(labels.ravel(), frames[..., channel].ravel()) for channel in range(3)]
    means = np.stack(sums, axis=1) / counts[:, None]
    edges = group_edges(labels)[..., None]
    picture = np.where(edges, 255 * edge_colours[names][labels], means[labels])
    return picture.astype(np.uint8)


def tint_groups(
    frames: UInt8[np.ndarray, "T H W 3"], groups: Int[np.ndarray, "T h w"]
) -> UInt8[np.ndarray, "T H W 3"]:
    """Tints and edges what merged in a hue for each group, in all frames; the rest stays as it is.

    Args:
      frames: H and W are multiples of h and w.
      groups: numbers of groups; a group may lie in several frames, in several pieces.
    """
    names, labels, counts = np.unique(groups, return_inverse=True, return_counts=True)
    labels = labels.reshape(groups.shape)
    merged = _enlarge(counts[labels] > 1, frames.shape[1:3])
    labels = _enlarge(labels, frames.shape[1:3])
    hues = 255 * _colours(len(names))[labels]
    edges = (group_edges(labels) & merged)[..., None]
    tinted = np.where(merged[..., None], (1 - _TINT) * frames + _TINT * hues, frames)
    return np.where(edges, hues, tinted).astype(np.uint8)


def group_edges(labels: Int[np.ndarray, "T H W"]) -> Bool[np.ndarray, "T H W"]:
    """Pixels beside another group, or beside the frame's border."""
    around = np.pad(labels, ((0, 0), (1, 1), (1, 1)), constant_values=-1)
    vertical, horizontal = around[:, :, 1:-1], around[:, 1:-1, :]
    neighbours = (vertical[:, :-2], vertical[:, 2:], horizontal[..., :-2], horizontal[..., 2:])
    return np.any([neighbour != labels for neighbour in neighbours], axis=0)


def paint_saliency(
    frames: UInt8[np.ndarray, "T H W 3"], saliency: Float[np.ndarray, "T h w"]
) -> UInt8[np.ndarray, "T H W 3"]:
    """Grey frames under a heat map of weights in [0,1]."""
    return _heat(frames, saliency, SALIENCY_COLOURS)


def paint_mass(
    frames: UInt8[np.ndarray, "T H W 3"], mass: Float[np.ndarray, "T h w"]
) -> UInt8[np.ndarray, "T H W 3"]:
    """Grey frames under a heat map of how many patches the token of each stands for (logarithm)."""
    share = np.log(np.maximum(mass, 1)) / max(np.log(mass.max()), 1e-6)
    return _heat(frames, share, MASS_COLOURS)


def enlarged(frames: UInt8[np.ndarray, "T H W 3"]) -> UInt8[np.ndarray, "T Y X 3"]:
    """Small frames several times as large, so that edges of groups look thin."""
    zoom = max(1, round(_FRAME_PIXELS / frames.shape[1]))
    return frames.repeat(zoom, axis=1).repeat(zoom, axis=2)


def dim(
    frames: UInt8[np.ndarray, "T H W 3"], background: Bool[np.ndarray, "T h w"]
) -> UInt8[np.ndarray, "T H W 3"]:
    """Darkens the patches that are background."""
    light = np.where(_enlarge(background, frames.shape[1:3]), _DIMMED, 1)
    return (frames * light[..., None]).astype(np.uint8)


def _heat(frames: np.ndarray, share: np.ndarray, colours: str) -> np.ndarray:
    heat = 255 * matplotlib.colormaps[colours](_enlarge(share, frames.shape[1:3]))[..., :3]
    grey = frames.mean(axis=-1, keepdims=True)
    return (0.4 * grey + 0.6 * heat).astype(np.uint8)


def _enlarge(patches: np.ndarray, pixels: tuple[int, int]) -> np.ndarray:
    """[T,h,w] -> [T,H,W], each value over its patch."""
    for axis, length in enumerate(pixels, start=1):
        patches = patches.repeat(length // patches.shape[axis], axis=axis)
    return patches


def _colours(count: int) -> np.ndarray:
    """RGB [count,3] in [0,1]: hues that neighbours in number do not share."""
    hues = (np.arange(count) * _GOLDEN_RATIO) % 1
    return np.array([colorsys.hsv_to_rgb(hue, 0.75, 1.0) for hue in hues])
