"""Action recognition's test pixels on the host: a resize, then one or more crops of all frames.

Frames stay uint8; normalising happens on the device. The resize is Pillow's bicubic one.

Source: TDS-CLIP (2024); three crops are those of Non-local networks (CVPR 2018).
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from tokmerge_jax.data.pixels.clip import shorter_side_size
from tokmerge_jax.types import UserError

Scale = int | tuple[int, int]
"""What frames are resized to: their shorter side, or (height, width) whatever their aspect."""

CROPS = (1, 3, 5, 10)
"""How many crops there may be."""


def resize(frames: UInt8[np.ndarray, "T H W 3"], scale: Scale) -> UInt8[np.ndarray, "T h w 3"]:
    """All frames as large as `scale` says, bicubic; a longer side is cut to whole pixels."""
    pictures = [Image.fromarray(frame) for frame in frames]
    if isinstance(scale, int):
        width, height = shorter_side_size(pictures[0], scale)
    else:
        height, width = scale
    size, how = (width, height), Image.Resampling.BICUBIC
    return np.stack([np.asarray(picture.resize(size, how)) for picture in pictures])


def crops(frames: UInt8[np.ndarray, "T H W 3"], size: int, count: int) -> np.ndarray:
    """Squares of all frames.

    Args:
      frames: as large as `size` or larger.
      size: S.
      count: K, one of `CROPS`. 1: the middle. 3: left, right (up to three pixels short of the edge)
        and middle, all at half height. 5: the corners, row by row, and the middle. 10: those five,
        each followed by its mirror image.

    Returns:
      uint8 [K * T,S,S,3], all frames of a crop together.
    """
    _, height, width, _ = frames.shape
    squares = [
        frames[:, top : top + size, left : left + size]
        for top, left in _corners(height, width, size, count)
    ]
    if count == 10:
        squares = [view for square in squares for view in (square, square[:, :, ::-1])]
    return np.concatenate(squares)


@dataclasses.dataclass(frozen=True)
class ResizeCrops:
    """Frames [T,H,W,3] -> [K * T,size,size,3], for evaluation: see `resize` and `crops`.

    Attributes:
      size: S.
      scale: what frames are resized to first.
      count: K.

    Raises:
      UserError: if `count` is none of `CROPS`, or `scale` is smaller than `size`.
    """

    size: int
    scale: Scale
    count: int = 1

    def __post_init__(self) -> None:
        if self.count not in CROPS:
            known = ", ".join(map(str, CROPS))
            raise UserError(f"config.data.crops={self.count} must be one of {known}")
        check_scale(self.scale, self.size)

    def __call__(
        self, frames: UInt8[np.ndarray, "T H W 3"], rng: np.random.Generator | None = None
    ) -> UInt8[np.ndarray, "V S S 3"]:
        """All T frames of the first crop, then those of the next; nothing is random."""
        del rng
        return crops(resize(frames, self.scale), self.size, self.count)


def check_scale(scale: Any, size: int) -> None:  # Any: it may be nothing of the kind
    """Raises UserError if that is no `Scale`, or its frames have no square of `size`."""
    sides = scale if isinstance(scale, tuple | list) else (scale, scale)
    if len(sides) != 2 or any(type(side) is not int for side in sides):
        raise UserError(
            f"config.data.scale={scale!r} must be the shorter side in pixels, as 256, or height and"
            " width, as (256, 320)"
        )
    if min(sides) < size:
        raise UserError(f"config.data.scale={scale} must be at least the frames' size {size}")


def _corners(height: int, width: int, size: int, count: int) -> list[tuple[int, int]]:
    """Where the squares begin: (top, left)."""
    if count == 1:
        return [(round((height - size) / 2), round((width - size) / 2))]
    top, left = (height - size) // 4, (width - size) // 4
    middle = (2 * top, 2 * left)
    if count == 3:
        return [(2 * top, 0), (2 * top, 4 * left), middle]
    return [(0, 0), (0, 4 * left), (4 * top, 0), (4 * top, 4 * left), middle]
