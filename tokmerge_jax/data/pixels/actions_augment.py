"""How training of action recognition changes clips: every frame of a sample alike.

Source: TDS-CLIP (2024); RandAugment is timm's (see `rand_augment`).
"""

import dataclasses
import math

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from tokmerge_jax.data.pixels import rand_augment
from tokmerge_jax.data.pixels.actions import Scale, check_scale, resize
from tokmerge_jax.data.pixels.umt import Box
from tokmerge_jax.types import UserError

_RATIOS = (3 / 4, 4 / 3)  # width to height
_TRIES = 10
_FLIPS = 0.5  # share of the samples that are mirrored


@dataclasses.dataclass(frozen=True)
class ActionAugment:
    """Frames [T,H,W,3] -> [T,size,size,3], for training: one draw for all frames.

    Attributes:
      size: S.
      scale: what frames are resized to before the crop.
      operations: whether RandAugment comes first.
      grey: share of the samples that lose their colours.
      min_area: share of the picture that a crop has at least.

    Raises:
      UserError: if `scale` is smaller than `size`, or a share cannot be.
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
        """The changed frames, and whether they were mirrored, which the label follows.

        (`galleries.augmented`.)
        """
        steps = rand_augment.draw(rng) if self.operations else ()
        frames = resize(rand_augment.apply(frames, steps) if steps else frames, self.scale)
        _, height, width, _ = frames.shape
        box = draw_box(height, width, rng, self.min_area)
        flip, grey = rng.random() < _FLIPS, rng.random() < self.grey
        return cropped(frames, box, self.size, flip, grey), flip


def draw_box(height: int, width: int, rng: np.random.Generator, min_area: float = 0.08) -> Box:
    """A box of at least that share of the area; area and ratio are uniform, sides exchanged or not.

    If ten draws do not fit, a square of the shorter side, anywhere. (`umt.random_box` draws
    the ratio's logarithm, and falls back on the middle.)
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
    """One box of all frames, resized bilinearly as Pillow does; then mirrored, then grey, if so."""
    return np.stack([_crop(Image.fromarray(frame), box, size, flip, grey) for frame in frames])


def _placed(height: int, width: int, h: int, w: int, rng: np.random.Generator) -> Box:
    top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
    return Box(int(top), int(left), h, w)


def _crop(
    picture: Image.Image, box: Box, size: int, flip: bool, grey: bool
) -> UInt8[np.ndarray, "S S 3"]:
    part = picture.crop((box.left, box.top, box.left + box.width, box.top + box.height))
    part = part.resize((size, size), Image.Resampling.BILINEAR)
    part = ImageOps.mirror(part) if flip else part
    return np.asarray(part.convert("L").convert("RGB") if grey else part)
