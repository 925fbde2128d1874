"""Resizes and crops test frames as in UMT's action recognition, on the host.

Source: UMT (ICCV 2023), its released data sets for action recognition.
"""

import dataclasses

import numpy as np
from jaxtyping import UInt8

from tokmerge_jax.data.pixels.action_crops import Scale, check_scale
from tokmerge_jax.types import UserError

_ONE = 2048  # a weight of 1, in OpenCV's whole numbers


def resize(
    frames: UInt8[np.ndarray, "T H W 3"], height: int, width: int
) -> UInt8[np.ndarray, "T h w 3"]:
    """OpenCV's bilinear resize, bit for bit: whole numbers, no antialiasing.

    Frames of that size are returned unchanged.
    """
    if frames.shape[1:3] == (height, width):
        return frames
    first, second, low, high = _taps(frames.shape[2], width)
    low = np.where(first == second, _ONE, low)  # at the edges, where one pixel counts twice
    high = _ONE - low
    wide = frames.astype(np.int32)
    wide = wide[:, :, first] * low[:, None] + wide[:, :, second] * high[:, None]
    first, second, *weights = _taps(frames.shape[1], height)
    low, high = (weight[:, None, None] for weight in weights)
    wide >>= 4
    sums = (low * wide[:, first] >> 16) + (high * wide[:, second] >> 16)
    return (sums + 2 >> 2).astype(np.uint8)


def _taps(extent: int, size: int) -> tuple[np.ndarray, ...]:
    """The two nearest places to each of `size` ones, int64, and their weights, int32."""
    place = ((np.arange(size) + 0.5) * (extent / size) - 0.5).astype(np.float32)
    floor = np.floor(place)
    first, second = (np.clip(floor + i, 0, extent - 1).astype(np.int64) for i in (0, 1))
    high = np.rint((place - floor) * _ONE).astype(np.int32)
    low = np.rint((1 - (place - floor)) * _ONE).astype(np.int32)
    return first, second, low, high


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
        frames = resize(frames, *_target(frames.shape[1], frames.shape[2], self.scale))
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
