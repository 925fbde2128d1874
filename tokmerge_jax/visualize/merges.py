"""Describes what merging did to the patches of a clip, from a system's trace."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Num


@dataclasses.dataclass(frozen=True)
class Merge:
    """The result of one merging layer for a clip of T frames of h x w patches.

    Attributes:
      layer: name of the layer.
      groups: int [T,h,w], index of the token that holds each patch after the merge.
      mass: float [T,h,w], size of that token.
      saliency: float [T,h,w] in [0,1], weight of each patch's token before the merge, 0 for
        background; None if the merger uses none.
      frames: int [T], index of the frame that holds each frame after the merge; None if whole
        frames do not merge.
    """

    layer: str
    groups: np.ndarray
    mass: np.ndarray
    saliency: np.ndarray | None = None
    frames: np.ndarray | None = None

    @property
    def tokens(self) -> int:
        """Number of tokens after the merge."""
        return len(np.unique(self.groups))

    @property
    def faded(self) -> Bool[np.ndarray, "T h w"]:
        """Background patches that merged; their content counts little or nothing."""
        if self.saliency is None:
            return np.zeros(self.groups.shape, bool)
        return (self.saliency == 0) & (np.bincount(self.groups.ravel())[self.groups] > 1)


def merges(
    trace: Mapping[str, Sequence[Num[np.ndarray, "B _"]]],
    clip: int,
    grid: tuple[int, int, int],
    layers: Sequence[str],
) -> tuple[Merge, ...]:
    """Extracts the merging layers of one clip from the result of `trace_video`.

    Args:
      trace: "origin" [B,N0], the token of each patch, and "size" [B,N] after each merging layer;
        "saliency" [B,N] of the tokens that entered it, or an empty list, then also "start", one
        [N0], the token of each patch in the first layer; "frames" [B,T] after a layer, if whole
        frames merge.
      clip: the clip's index in the batch.
      grid: (T, h, w); their product is N0.
      layers: names of the merging layers.

    Returns:
      one `Merge` per layer.
    """
    merge_list: list[Merge] = []
    start = trace["start"][0] if trace["saliency"] else np.arange(np.prod(grid))
    before = np.asarray(start).reshape(grid)
    for place, (layer, origin) in enumerate(zip(layers, trace["origin"], strict=True)):
        saliency = trace["saliency"][place][clip][before] if trace["saliency"] else None
        before = np.asarray(origin[clip]).reshape(grid)
        mass = trace["size"][place][clip][before]
        frames = trace["frames"][place][clip] if "frames" in trace else None
        merge_list.append(Merge(layer, before, mass, saliency, frames))
    return tuple(merge_list)
