"""CLIP's resize and crop on the host: a pure function, and a dataclass that holds its arguments.

Frames stay uint8; they are normalised on the device. The resize is Pillow's, in CLIP the bicubic
one, which is antialiased (the kernel widens when it shrinks a picture) and rounds to uint8;
`umt.resize` is PyTorch's, which is not antialiased.

Source: CLIP (ICML 2021), the preprocessing of its released code.
"""

import dataclasses

import numpy as np
from jaxtyping import UInt8
from PIL import Image

BICUBIC = Image.Resampling.BICUBIC


def shorter_side_crop(
    frames: UInt8[np.ndarray, "T H W 3"], size: int, resampling: Image.Resampling = BICUBIC
) -> UInt8[np.ndarray, "T S S 3"]:
    """Resizes the shorter side of all frames to `size` and crops the central square.

    The longer side keeps the aspect ratio, truncated to whole pixels; the crop starts at half of
    the excess, rounded half to even.
    """
    width, height = shorter_side_size(Image.fromarray(frames[0]), size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    resized = (Image.fromarray(frame).resize((width, height), resampling) for frame in frames)
    square = left, top, left + size, top + size
    return np.stack([np.asarray(picture.crop(square)) for picture in resized])


def shorter_side_size(picture: Image.Image, size: int) -> tuple[int, int]:
    """Returns (width, height) for a shorter side of `size`, truncated to whole pixels."""
    short = min(picture.size)
    width, height = (int(size * side / short) for side in picture.size)
    return width, height


@dataclasses.dataclass(frozen=True)
class ResizeCrop:
    """Frames [T,H,W,3] -> [T,size,size,3], for evaluation and training without augmentation."""

    size: int
    resampling: Image.Resampling = BICUBIC

    def __call__(
        self, frames: UInt8[np.ndarray, "T H W 3"], rng: np.random.Generator | None = None
    ) -> UInt8[np.ndarray, "T S S 3"]:
        """Applies `shorter_side_crop`; `rng` is not used."""
        del rng
        return shorter_side_crop(frames, self.size, self.resampling)
