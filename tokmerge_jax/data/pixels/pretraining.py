"""Augments pretraining clips: a crop, then two random operations, the same on every frame.

Source: TESTA (Findings of EMNLP 2023), which augments as BLIP (ICML 2022). Rotation, shear and
translation equal OpenCV's warp: coordinates in 1/32 of a pixel, integer weights.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import lru_cache, reduce

import numpy as np
from einops import rearrange
from jaxtyping import Int32, Int64, UInt8
from PIL import Image, ImageOps

from tokmerge_jax.data.pixels import rand_augment
from tokmerge_jax.data.pixels.rand_augment import Operation, Step
from tokmerge_jax.data.pixels.umt import random_box

_COUNT = 2  # number of operations drawn per clip
_VIDEO_LEVEL, _PICTURE_LEVEL = 0.5, 0.7
_PROBABILITY = 0.5  # that a drawn operation is applied to a picture
_MIN_SCALE = 0.5  # smallest area of a picture's crop, as a share of the picture
_GREY = 128  # value outside of a picture
_PARTS = 32  # coordinates are multiples of 1 / _PARTS of a pixel
_FINE = 1024  # and are first rounded to 1 / _FINE
_MAPS = 16  # number of cached maps: enough for all operations at one size

Row = tuple[float, float, float]
"""(a, b, c): output place (x, y) reads the input at coordinate a x + b y + c."""


def warp(picture: Image.Image, x_of: Row, y_of: Row) -> Image.Image:
    """Warps a picture bilinearly; place (x, y) reads column `x_of` and row `y_of` of the input."""
    pixels = np.pad(np.asarray(picture), ((1, 1), (1, 1), (0, 0)), constant_values=_GREY)
    pixels = rearrange(pixels, "h w c -> (h w) c").astype(np.int32)
    corners = _corners(x_of, y_of, picture.height, picture.width)
    sums = reduce(np.add, (weight[..., None] * pixels[place] for place, weight in corners))
    return Image.fromarray(((sums + _PARTS**2 // 2) // _PARTS**2).astype(np.uint8))


@lru_cache(maxsize=_MAPS)
def _corners(
    x_of: Row, y_of: Row, height: int, width: int
) -> tuple[tuple[Int32[np.ndarray, "H W"], Int32[np.ndarray, "H W"]], ...]:
    """Returns (flat index, weight) [H,W] of the four pixels that each output place reads, in a
    picture with a border of one grey pixel.
    """
    x, right = _places(x_of, height, width)
    y, low = _places(y_of, height, width)

    def corner(dx: int, dy: int) -> tuple[np.ndarray, np.ndarray]:
        weight = np.abs(_PARTS * (1 - dx) - right) * np.abs(_PARTS * (1 - dy) - low)
        rows, columns = np.clip(y + 1 + dy, 0, height + 1), np.clip(x + 1 + dx, 0, width + 1)
        return (rows * (width + 2) + columns).astype(np.int32), weight.astype(np.int32)

    return corner(0, 0), corner(1, 0), corner(0, 1), corner(1, 1)


def _places(
    row: Row, height: int, width: int
) -> tuple[Int64[np.ndarray, "H W"], Int64[np.ndarray, "H W"]]:
    """Returns one input coordinate of each output place: (whole pixels, remainder in 32nds)."""
    by_x, by_y, offset = row
    along = np.rint(_FINE * by_x * np.arange(width)).astype(np.int64)
    down = np.rint(_FINE * (by_y * np.arange(height) + offset)).astype(np.int64)
    step = _FINE // _PARTS
    places = (down[:, None] + along[None] + step // 2) // step
    return places // _PARTS, places % _PARTS


def shear_x(picture: Image.Image, factor: float) -> Image.Image:
    """Moves each row right by `factor` times its distance from the top."""
    return warp(picture, (1.0, -factor, 0.0), (0.0, 1.0, 0.0))


def shear_y(picture: Image.Image, factor: float) -> Image.Image:
    """Moves each column down by `factor` times its distance from the left."""
    return warp(picture, (1.0, 0.0, 0.0), (-factor, 1.0, 0.0))


def translate_x(picture: Image.Image, pixels: float) -> Image.Image:
    """Moves the picture left by `pixels`."""
    return warp(picture, (1.0, 0.0, pixels), (0.0, 1.0, 0.0))


def translate_y(picture: Image.Image, pixels: float) -> Image.Image:
    """Moves the picture up by `pixels`."""
    return warp(picture, (1.0, 0.0, 0.0), (0.0, 1.0, pixels))


def rotate(picture: Image.Image, degrees: float) -> Image.Image:
    """Rotates the picture anticlockwise about the pixel at half of its width and height."""
    x, y = picture.width / 2, picture.height / 2
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x_of, y_of = (cos, -sin, x - cos * x + sin * y), (sin, cos, y - sin * x - cos * y)
    return warp(picture, x_of, y_of)


def contrast(picture: Image.Image, factor: float) -> Image.Image:
    """Scales the values' distance from the mean brightness by `factor`, clipped to a byte.

    As in the original, the brightness exchanges the weights of red and blue.
    """
    mean = np.asarray(picture).mean(axis=(0, 1)) @ (0.114, 0.587, 0.299)
    table = np.clip((np.arange(256) - mean) * factor + mean, 0, 255).astype(np.uint8)
    return picture.point(3 * table.tolist())


def _enhanced(level: float) -> float:
    return 1.8 * abs(level) + 0.1


def _by(most: float) -> Callable[[float], float]:
    return lambda level: level * most


OPERATIONS: Mapping[str, Operation] = {
    "Identity": Operation(lambda picture, _: picture),
    "Contrast": Operation(contrast, _enhanced),
    "Brightness": Operation(rand_augment.OPERATIONS["BrightnessIncreasing"].apply, _enhanced),
    "Sharpness": Operation(rand_augment.OPERATIONS["SharpnessIncreasing"].apply, _enhanced),
    "ShearX": Operation(shear_x, _by(0.3)),
    "ShearY": Operation(shear_y, _by(0.3)),
    "TranslateX": Operation(translate_x, _by(10.0)),
    "TranslateY": Operation(translate_y, _by(10.0)),
    "Rotate": Operation(rotate, _by(30.0)),
    "HorizontalFlip": Operation(lambda picture, _: ImageOps.mirror(picture)),
}
"""The original's name -> operation."""

OF_PICTURES = tuple(name for name in OPERATIONS if name not in ("Contrast", "HorizontalFlip"))
"""Names of the operations that are drawn for pictures."""


def draw_for_video(rng: np.random.Generator) -> tuple[Step, ...]:
    """Draws two different operations at level 5 of 10, with positive sign; all equally likely."""
    names = rng.choice(list(OPERATIONS), _COUNT, replace=False).tolist()
    return tuple((name, OPERATIONS[name].strength(_VIDEO_LEVEL)) for name in names)


def draw_for_picture(rng: np.random.Generator) -> tuple[Step, ...]:
    """Draws two of `OF_PICTURES`, repeats allowed, at level 7 of 10 with random sign.

    Each of the two is kept with probability 0.5.
    """
    names = rng.choice(OF_PICTURES, _COUNT).tolist()
    signs = rng.choice((-1, 1), _COUNT).tolist()
    return tuple(
        (name, OPERATIONS[name].strength(_PICTURE_LEVEL * sign))
        for name, sign in zip(names, signs, strict=True)
        if rng.random() < _PROBABILITY
    )


@dataclasses.dataclass(frozen=True)
class PretrainingAugment:
    """Frames [T,H,W,3] -> [T,size,size,3], for training: one draw for all frames.

    Equal frames mean a picture, of any size: it is cropped and resized, mirrored half of the time
    and changed by `draw_for_picture`. A video is cropped and changed by `draw_for_video`.

    Attributes:
      size: S, edge of the result in pixels.
      whole: edge of a video's frames before the crop.
    """

    size: int
    whole: int

    def __call__(
        self, frames: UInt8[np.ndarray, "T H W 3"], rng: np.random.Generator
    ) -> UInt8[np.ndarray, "T S S 3"]:
        """Augments the frames, all alike, with draws from `rng`."""
        is_one = frames.strides[0] == 0  # views of one frame, as a picture is read
        if is_one or (frames == frames[:1]).all():
            return self._picture(frames[:1], rng).repeat(len(frames), axis=0)
        return self._video(frames, rng)

    def _video(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        top, left = rng.integers(self.whole - self.size + 1, size=2)
        frames = frames[:, top : top + self.size, left : left + self.size]
        return rand_augment.apply(frames, draw_for_video(rng), OPERATIONS)

    def _picture(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        _, height, width, _ = frames.shape
        box = random_box(height, width, rng, _MIN_SCALE)
        mirror = (("HorizontalFlip", 0.0),) if rng.random() < 0.5 else ()
        edges = box.left, box.top, box.left + box.width, box.top + box.height
        part = Image.fromarray(frames[0]).crop(edges)
        part = np.asarray(part.resize((self.size, self.size), Image.Resampling.BICUBIC))
        return rand_augment.apply(part[None], (*mirror, *draw_for_picture(rng)), OPERATIONS)
