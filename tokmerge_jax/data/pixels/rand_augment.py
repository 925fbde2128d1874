"""RandAugment for clips: a few random operations, the same on every frame.

Source: RandAugment (NeurIPS 2020) in timm's form `rand-m7-n4-mstd0.5-inc1`, with which TempMe (ICLR
2025) and TDS-CLIP train: every operation grows stronger with the magnitude.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageEnhance, ImageOps

from tokmerge_jax.data.pixels.clip import shorter_side_crop

_COUNT = 4  # number of operations drawn per clip
_PROBABILITY = 0.5  # that a drawn operation is applied
_MAGNITUDE, _DEVIATION = 7, 0.5  # mean and deviation of a normal distribution, clipped to 0.._MOST
_MOST = 10
_GREY = (128, 128, 128)  # value outside of a picture

Step = tuple[str, int | float]
"""An operation's name and its strength, in the operation's own unit."""


def rotate(picture: Image.Image, degrees: float) -> Image.Image:
    """Rotates the picture about its centre, anticlockwise."""
    return picture.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=_GREY)


def shear_x(picture: Image.Image, factor: float) -> Image.Image:
    """Moves each row left by `factor` times its distance from the top."""
    return _affine(picture, (1, factor, 0, 0, 1, 0))


def shear_y(picture: Image.Image, factor: float) -> Image.Image:
    """Moves each column up by `factor` times its distance from the left."""
    return _affine(picture, (1, 0, 0, factor, 1, 0))


def translate_x(picture: Image.Image, share: float) -> Image.Image:
    """Moves the picture left by `share` of its width."""
    return _affine(picture, (1, 0, share * picture.width, 0, 1, 0))


def translate_y(picture: Image.Image, share: float) -> Image.Image:
    """Moves the picture up by `share` of its height."""
    return _affine(picture, (1, 0, 0, 0, 1, share * picture.height))


def posterize(picture: Image.Image, bits: int) -> Image.Image:
    """Keeps the highest `bits` bits of every value; 0 bits, which Pillow refuses, give black."""
    cut = 8 - bits
    return picture.point(3 * [value >> cut << cut for value in range(256)])


def solarize_add(picture: Image.Image, added: int) -> Image.Image:
    """Adds `added` to the values below 128, up to 255."""
    table = [min(value + added, 255) if value < 128 else value for value in range(256)]
    return picture.point(3 * table)


class Operation(NamedTuple):
    """An operation on a picture.

    Attributes:
      apply: (picture, strength) -> a picture of the same size.
      strength: level in -1..1, its sign drawn at random -> strength in the operation's own unit.
    """

    apply: Callable[[Image.Image, Any], Image.Image]  # Any: int or float, by the operation
    strength: Callable[[float], int | float] = abs  # ignored by operations without a strength


def _by(most: float) -> Callable[[float], float]:
    return lambda level: level * most


def _factor(level: float) -> float:
    return 1 + level * 0.9


OPERATIONS: Mapping[str, Operation] = {
    "AutoContrast": Operation(lambda picture, _: ImageOps.autocontrast(picture)),
    "Equalize": Operation(lambda picture, _: ImageOps.equalize(picture)),
    "Invert": Operation(lambda picture, _: ImageOps.invert(picture)),
    "Rotate": Operation(rotate, _by(30.0)),
    "PosterizeIncreasing": Operation(posterize, lambda level: 4 - int(abs(level) * 4)),
    "SolarizeIncreasing": Operation(ImageOps.solarize, lambda level: 256 - int(abs(level) * 256)),
    "SolarizeAdd": Operation(solarize_add, lambda level: int(abs(level) * 110)),
    "ColorIncreasing": Operation(lambda p, f: ImageEnhance.Color(p).enhance(f), _factor),
    "ContrastIncreasing": Operation(lambda p, f: ImageEnhance.Contrast(p).enhance(f), _factor),
    "BrightnessIncreasing": Operation(lambda p, f: ImageEnhance.Brightness(p).enhance(f), _factor),
    "SharpnessIncreasing": Operation(lambda p, f: ImageEnhance.Sharpness(p).enhance(f), _factor),
    "ShearX": Operation(shear_x, _by(0.3)),
    "ShearY": Operation(shear_y, _by(0.3)),
    "TranslateXRel": Operation(translate_x, _by(0.45)),
    "TranslateYRel": Operation(translate_y, _by(0.45)),
}
"""timm's name -> operation; all are equally likely."""


def draw(rng: np.random.Generator) -> tuple[Step, ...]:
    """Draws the steps for one clip: four operations, repeats allowed, each kept with 0.5."""
    names = rng.choice(list(OPERATIONS), _COUNT).tolist()
    steps: list[Step] = []
    for name in names:
        if rng.random() >= _PROBABILITY:
            continue
        level = np.clip(rng.normal(_MAGNITUDE, _DEVIATION), 0, _MOST) / _MOST
        sign = rng.choice((-1, 1))
        steps.append((name, OPERATIONS[name].strength(float(level * sign))))
    return tuple(steps)


def apply(
    frames: UInt8[np.ndarray, "T H W 3"],
    steps: Sequence[Step],
    operations: Mapping[str, Operation] = OPERATIONS,
) -> UInt8[np.ndarray, "T H W 3"]:
    """Applies the operations of `steps`, in order, to every frame."""
    pictures = [Image.fromarray(frame) for frame in frames]
    for name, strength in steps:
        pictures = [operations[name].apply(picture, strength) for picture in pictures]
    return np.stack([np.asarray(picture) for picture in pictures])


@dataclasses.dataclass(frozen=True)
class RandAugmentCrop:
    """Frames [T,H,W,3] -> [T,size,size,3], for training: one draw for all frames."""

    size: int

    def __call__(
        self, frames: UInt8[np.ndarray, "T H W 3"], rng: np.random.Generator
    ) -> UInt8[np.ndarray, "T S S 3"]:
        """Applies drawn operations at the original size, then `shorter_side_crop`."""
        return shorter_side_crop(apply(frames, draw(rng)), self.size)


def _affine(picture: Image.Image, matrix: Sequence[int | float]) -> Image.Image:
    """Warps a picture: place (x, y) reads the input at (a x + b y + c, d x + e y + f)."""
    affine, bicubic = Image.Transform.AFFINE, Image.Resampling.BICUBIC
    return picture.transform(picture.size, affine, matrix, bicubic, fillcolor=_GREY)
