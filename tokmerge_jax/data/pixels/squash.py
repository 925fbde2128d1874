"""PE-Core's and VideoPrism's resize on the host: a frame becomes a square, whatever its ratio.

The resize is Pillow's, which is antialiased and rounds to uint8. Frames stay uint8; they are
normalised on the device.

Sources: the preprocessing of the released code of Perception Encoder (arXiv 2504.13181, bilinear)
and VideoPrism (ICML 2024, Lanczos).
"""

import dataclasses

import numpy as np
from jaxtyping import UInt8
from PIL import Image

BILINEAR, LANCZOS = Image.Resampling.BILINEAR, Image.Resampling.LANCZOS


@dataclasses.dataclass(frozen=True)
class Squash:
    """Frames [T,H,W,3] -> [T,size,size,3], for evaluation and training without augmentation."""

    size: int
    resampling: Image.Resampling = BILINEAR

    def __call__(
        self, frames: UInt8[np.ndarray, "T H W 3"], rng: np.random.Generator | None = None
    ) -> UInt8[np.ndarray, "T S S 3"]:
        """Resizes both sides of all frames to `size`; `rng` is not used."""
        del rng
        square = (self.size, self.size)
        resized = (Image.fromarray(frame).resize(square, self.resampling) for frame in frames)
        return np.stack([np.asarray(picture) for picture in resized])
