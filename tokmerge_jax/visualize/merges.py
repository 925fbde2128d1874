"""What merging did to the patches of a clip, told from a system's trace."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Num


@dataclasses.dataclass(frozen=True)
class Merge:
    """What one merging layer did to a clip of T frames of h x w patches.

    Attributes:
      layer: what the layer is called.
      groups: int [T,h,w], the token that holds each patch afterwards.
      mass: float [T,h,w], the size of the token that holds each patch afterwards.
      saliency: float [T,h,w] in [0,1], the weight of each patch's token before the merge, 0 for
        background; None if the merger asks for none.
      frames: int [T], the frame that holds each frame afterwards; None where tokens merge wherever
        they are.
    """

    layer: str
    groups: np.ndarray
    mass: np.ndarray
    saliency: np.ndarray | None = None
    frames: np.ndarray | None = None

    @property
    def tokens(self) -> int:
        """How many tokens are left."""
        return len(np.unique(self.groups))

    @property
    def faded(self) -> Bool[np.ndarray, "T h w"]:
        """Patches that were background and merged: what they showed counts little or nothing."""
        if self.saliency is None:
            return np.zeros(self.groups.shape, bool)
        return (self.saliency == 0) & (np.bincount(self.groups.ravel())[self.groups] > 1)


def merges(
    trace: Mapping[str, Sequence[Num[np.ndarray, "B _"]]],
    clip: int,
    grid: tuple[int, int, int],
    layers: Sequence[str],
) -> tuple[Merge, ...]:
    """The merging layers of one clip, from what `trace_video` tells of a batch.

    Args:
      trace: "origin" [B,N0] and "size" [B,N] after each merging layer; "saliency" [B,N] of the
        tokens that entered it, or an empty list; "frames" [B,T] after it, if whole frames merge.
      clip: the clip's place in the batch.
      grid: T, h and w; their product is N0.
      layers: what the merging layers are called.

    Returns:
      One `Merge` per layer, all patches of the input told.
    """
    found: list[Merge] = []
    before = np.arange(np.prod(grid)).reshape(grid)
    for place, (layer, origin) in enumerate(zip(layers, trace["origin"], strict=True)):
        saliency = trace["saliency"][place][clip][before] if trace["saliency"] else None
        before = np.asarray(origin[clip]).reshape(grid)
        mass = trace["size"][place][clip][before]
        frames = trace["frames"][place][clip] if "frames" in trace else None
        found.append(Merge(layer, before, mass, saliency, frames))
    return tuple(found)
