"""Pictures of token merging: what is salient in a clip, and which patches became one token.

Everything is a pure function of arrays; matplotlib draws only the final figure.
"""

import colorsys
import dataclasses
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from jaxtyping import Bool, Float, Int, Num, UInt8
from matplotlib.figure import Figure

_FRAME_PIXELS = 192  # frames are enlarged to about this edge, so that edges of groups look thin
_GOLDEN_RATIO = 0.618034
_DIMMED = 0.35


@dataclasses.dataclass(frozen=True)
class Merge:
    """What one merging layer did to a clip of T frames of h x w patches.

    Attributes:
      groups: int [T,h,w], the token that holds each patch afterwards.
      saliency: float [T,h,w] in [0,1], the weight of each patch's token before the merge, 0 for
        background; None if the merger asks for none.
    """

    groups: np.ndarray
    saliency: np.ndarray | None = None

    @property
    def tokens(self) -> int:
        """How many tokens are left."""
        return len(np.unique(self.groups))


def merges(
    trace: Mapping[str, Sequence[Num[np.ndarray, "B _"]]], clip: int, grid: tuple[int, int, int]
) -> tuple[Merge, ...]:
    """The merging layers of one clip, from what `predict["trace_video"]` tells of a batch.

    Args:
      trace: "origin" [B,N0] after each merging layer; "saliency" [B,N] of the tokens that entered
        it, or an empty list.
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
        found.append(Merge(before, saliency))
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
    heat = 255 * matplotlib.colormaps["inferno"](_enlarge(saliency, frames.shape[1:3]))[..., :3]
    grey = frames.mean(axis=-1, keepdims=True)
    return (0.4 * grey + 0.6 * heat).astype(np.uint8)


def dim(
    frames: UInt8[np.ndarray, "T H W 3"], background: Bool[np.ndarray, "T h w"]
) -> UInt8[np.ndarray, "T H W 3"]:
    """Darkens the patches that are background."""
    light = np.where(_enlarge(background, frames.shape[1:3]), _DIMMED, 1)
    return (frames * light[..., None]).astype(np.uint8)


def figure(
    clips: Sequence[UInt8[np.ndarray, "T H W 3"]],
    layers: Sequence[Sequence[Merge]],
    titles: Sequence[str],
    columns: int = 8,
) -> Figure:
    """Rows of frames for each clip: pixels, saliency at its first merge, groups after its last.

    Patches that are background at the first merge are dimmed.

    Args:
      clips: as the network sees them.
      layers: the merges of each clip, at least one (`merges`).
      titles: a line above each clip.
      columns: how many frames to show at most, evenly spaced; colours stand for all frames.
    """
    rows = [_rows(frames, merged) for frames, merged in zip(clips, layers, strict=True)]
    count = min(columns, len(clips[0]))
    shown = np.linspace(0, len(clips[0]) - 1, count).round().astype(int)
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
    return result


def _rows(frames: np.ndarray, merged: Sequence[Merge]) -> dict[str, np.ndarray]:
    """The rows of one clip by their labels."""
    zoom = max(1, round(_FRAME_PIXELS / frames.shape[1]))
    frames = frames.repeat(zoom, axis=1).repeat(zoom, axis=2)
    first, last = merged[0], merged[-1]
    rows = {"frames": frames}
    if first.saliency is not None:
        rows["saliency"] = paint_saliency(frames, first.saliency)
    groups = paint_groups(frames, last.groups)
    if first.saliency is not None:
        groups = dim(groups, first.saliency == 0)
    return {**rows, f"{last.groups.size} tokens\nmerged to {last.tokens}": groups}


def _enlarge(patches: np.ndarray, pixels: tuple[int, int]) -> np.ndarray:
    """[T,h,w] -> [T,H,W], each value over its patch."""
    for axis, length in enumerate(pixels, start=1):
        patches = patches.repeat(length // patches.shape[axis], axis=axis)
    return patches


def _colours(count: int) -> np.ndarray:
    """RGB [count,3] in [0,1]: hues that neighbours in number do not share."""
    hues = (np.arange(count) * _GOLDEN_RATIO) % 1
    return np.array([colorsys.hsv_to_rgb(hue, 0.75, 1.0) for hue in hues])
