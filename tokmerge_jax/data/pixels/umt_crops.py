"""Resizes and crops test frames as in UMT's action recognition, on the host.

Source: UMT (ICCV 2023), its released data sets for action recognition.
"""

import dataclasses

import numpy as np
from jaxtyping import UInt8

from tokmerge_jax.data.pixels.action_crops import Scale, check_scale
from tokmerge_jax.data.pixels.umt import linear
from tokmerge_jax.types import UserError


@dataclasses.dataclass(frozen=True)
class LongSideCrops:
    """Frames [T,H,W,3] -> [K * T,size,size,3], for evaluation: bilinear resize, then K squares.

    The squares are spread evenly over the longer side, from end to end (K = 1: its middle), and are
    in the middle of the shorter one.

    Attributes:
      size: S, edge of a crop in pixels.
      scale: target size of the resize.
      count: K, number of crops.

    Raises:
      UserError: if `count` is below 1, or `scale` is smaller than `size`.
    """

    size: int
    scale: Scale
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UserError(f"config.data.crops={self.count} must be 1 or more")
        check_scale(self.scale, self.size)

    def __call__(
        self, frames: UInt8[np.ndarray, "T H W 3"], rng: np.random.Generator | None = None
    ) -> UInt8[np.ndarray, "V S S 3"]:
        """Returns the crops one after the other, T frames each; `rng` is not used."""
        del rng
        frames = linear(frames, *_target(frames.shape[1], frames.shape[2], self.scale))
        height, width = frames.shape[1:3]
        tops, lefts = self._starts(height, height >= width), self._starts(width, height < width)
        return np.concatenate(
            [
                frames[:, top : top + self.size, left : left + self.size]
                for top in tops
                for left in lefts
            ]
        )

    def _starts(self, extent: int, spread: bool) -> list[int]:
        """The first pixels of the squares on a side; of one in its middle unless they `spread`."""
        spare = extent - self.size
        if not spread or self.count == 1:
            return [spare // 2]
        return [int(i * (spare / (self.count - 1))) for i in range(self.count)]


def _target(height: int, width: int, scale: Scale) -> tuple[int, int]:
    """The height and width after the resize, truncated to whole pixels."""
    if not isinstance(scale, int):
        return scale
    short = min(height, width)
    return int(scale * height / short), int(scale * width / short)
