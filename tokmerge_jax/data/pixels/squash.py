"""PE-Core's resize on the host: a frame becomes a square, whatever its aspect ratio.

The resize is Pillow's bilinear one, which is antialiased and rounds to uint8. Frames stay uint8;
they are normalised on the device.

Source: Perception Encoder (arXiv 2504.13181), the preprocessing of its released code.
"""

import dataclasses

import numpy as np
from jaxtyping import UInt8
from PIL import Image

BILINEAR = Image.Resampling.BILINEAR


@dataclasses.dataclass(frozen=True)
class Squash:
    """Frames [T,H,W,3] -> [T,size,size,3], for evaluation and training without augmentation."""

    size: int

    def __call__(
        self, frames: UInt8[np.ndarray, "T H W 3"], rng: np.random.Generator | None = None
    ) -> UInt8[np.ndarray, "T S S 3"]:
        """Resizes both sides of all frames to `size`; `rng` is not used."""
        del rng
        square = (self.size, self.size)
        resized = (Image.fromarray(frame).resize(square, BILINEAR) for frame in frames)
        return np.stack([np.asarray(picture) for picture in resized])
