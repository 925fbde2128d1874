"""Augments training clips of action recognition, all frames of a sample alike.

Source: TDS-CLIP (2024); RandAugment is timm's (see `rand_augment`).
"""

import dataclasses
import math

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from tokmerge_jax.data.pixels import rand_augment
from tokmerge_jax.data.pixels.action_crops import Scale, check_scale, resize
from tokmerge_jax.data.pixels.umt import Box
from tokmerge_jax.types import UserError

_RATIOS = (3 / 4, 4 / 3)  # width / height
_TRIES = 10
_FLIPS = 0.5  # probability that a sample is mirrored


@dataclasses.dataclass(frozen=True)
class ActionAugment:
    """Frames [T,H,W,3] -> [T,size,size,3], for training: one draw for all frames.

    Attributes:
      size: S, edge of the result in pixels.
      scale: target size of the resize before the crop.
      operations: whether RandAugment comes first.
      grey: probability that a sample becomes grey.
      min_area: smallest area of a crop, as a share of the picture.

    Raises:
      UserError: if `scale` is smaller than `size`, or a share is not from 0 to 1.
    """

    size: int
    scale: Scale
    operations: bool = False
    grey: float = 0.0
    min_area: float = 0.08

    def __post_init__(self) -> None:
        check_scale(self.scale, self.size)
        for name, share in (("grey", self.grey), ("min_area", self.min_area)):
            if not 0 <= share <= 1:
                raise UserError(f"config.train.{name}={share} must be from 0 to 1")

    def __call__(
        self, frames: UInt8[np.ndarray, "T H W 3"], rng: np.random.Generator
    ) -> tuple[UInt8[np.ndarray, "T S S 3"], bool]:
        """Returns (augmented frames, whether they were mirrored).

        `galleries.augmented` changes the label of a mirrored clip.
        """
        steps = rand_augment.draw(rng) if self.operations else ()
        frames = resize(rand_augment.apply(frames, steps) if steps else frames, self.scale)
        _, height, width, _ = frames.shape
        box = draw_box(height, width, rng, self.min_area)
        flip, grey = rng.random() < _FLIPS, rng.random() < self.grey
        return cropped(frames, box, self.size, flip, grey), flip


def draw_box(height: int, width: int, rng: np.random.Generator, min_area: float = 0.08) -> Box:
    """Draws a box of at least `min_area` of the picture, with uniform area and aspect ratio.

    Half of the boxes exchange width and height. If ten draws do not fit, the box is a square of the
    shorter side, anywhere. (`umt.random_box` draws the ratio's logarithm and falls back to the
    centre.)
    """
    for _ in range(_TRIES):
        area, ratio = height * width * rng.uniform(min_area, 1), rng.uniform(*_RATIOS)
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if rng.random() < 0.5:
            w, h = h, w
        if w <= width and h <= height:
            return _placed(height, width, h, w, rng)
    side = min(height, width)
    return _placed(height, width, side, side, rng)


def cropped(
    frames: UInt8[np.ndarray, "T H W 3"], box: Box, size: int, flip: bool, grey: bool
) -> UInt8[np.ndarray, "T S S 3"]:
    """Crops one box from all frames and resizes it (Pillow's bilinear); then flip, then grey."""
    edges = box.left, box.top, box.left + box.width, box.top + box.height
    parts = [Image.fromarray(frame).crop(edges) for frame in frames]
    parts = [part.resize((size, size), Image.Resampling.BILINEAR) for part in parts]
    if flip:
        parts = [ImageOps.mirror(part) for part in parts]
    if grey:
        parts = [part.convert("L").convert("RGB") for part in parts]
    return np.stack([np.asarray(part) for part in parts])


def _placed(height: int, width: int, h: int, w: int, rng: np.random.Generator) -> Box:
    top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
    return Box(int(top), int(left), h, w)
