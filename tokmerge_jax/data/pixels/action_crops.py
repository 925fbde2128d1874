"""Resizes and crops test frames of action recognition, on the host.

Frames stay uint8; they are normalised on the device. The resize is Pillow's bicubic one.

Source: TDS-CLIP (2024); the three crops are those of Non-local Networks (CVPR 2018).
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from tokmerge_jax.data.pixels.clip import shorter_side_size
from tokmerge_jax.types import UserError

Scale = int | tuple[int, int]
"""Target size in pixels: the shorter side, or (height, width), ignoring the aspect ratio."""

CROPS = (1, 3, 5, 10)
"""Possible numbers of crops."""


def resize(frames: UInt8[np.ndarray, "T H W 3"], scale: Scale) -> UInt8[np.ndarray, "T h w 3"]:
    """Resizes all frames to `scale`, bicubic; the longer side is truncated to whole pixels."""
    pictures = [Image.fromarray(frame) for frame in frames]
    if isinstance(scale, int):
        width, height = shorter_side_size(pictures[0], scale)
    else:
        height, width = scale
    size, how = (width, height), Image.Resampling.BICUBIC
    return np.stack([np.asarray(picture.resize(size, how)) for picture in pictures])


def crops(frames: UInt8[np.ndarray, "T H W 3"], size: int, count: int) -> np.ndarray:
    """Crops K squares from all frames.

    Args:
      frames: frames of at least `size` x `size`.
      size: S.
      count: K, one of `CROPS`. 1: the centre. 3: left, right (up to three pixels from the edge) and
        centre, all at half height. 5: the corners, row by row, and the centre. 10: those five, each
        followed by its mirror image.

    Returns:
      uint8 [K * T,S,S,3], crop by crop.
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
    """Frames [T,H,W,3] -> [K * T,size,size,3], for evaluation: `resize`, then `crops`.

    Attributes:
      size: S, edge of a crop in pixels.
      scale: target size of the resize.
      count: K, number of crops.

    Raises:
      UserError: if `count` is not in `CROPS`, or `scale` is smaller than `size`.
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
        """Returns the crops one after the other, T frames each; `rng` is not used."""
        del rng
        return crops(resize(frames, self.scale), self.size, self.count)


def check_scale(scale: Any, size: int) -> None:  # Any: this checks the type
    """Raises UserError if `scale` is not a `Scale`, or smaller than `size`."""
    sides = scale if isinstance(scale, tuple | list) else (scale, scale)
    if len(sides) != 2 or any(type(side) is not int for side in sides):
        raise UserError(
            f"config.data.scale={scale!r} must be the shorter side in pixels (such as 256), or"
            " height and width (such as (256, 320))"
        )
    if min(sides) < size:
        raise UserError(f"config.data.scale={scale} must be at least the frames' size {size}")


def _corners(height: int, width: int, size: int, count: int) -> list[tuple[int, int]]:
    """The corners (top, left) of the squares."""
    if count == 1:
        return [(round((height - size) / 2), round((width - size) / 2))]
    top, left = (height - size) // 4, (width - size) // 4
    middle = (2 * top, 2 * left)
    if count == 3:
        return [(2 * top, 0), (2 * top, 4 * left), middle]
    return [(0, 0), (0, 4 * left), (4 * top, 0), (4 * top, 4 * left), middle]
