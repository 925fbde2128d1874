"""UMT's resize and crop on the host: pure functions, and dataclasses that hold their arguments.

Frames stay uint8; they are normalised on the device. The resize is PyTorch's bicubic one for
tensors: a = -0.75, half-pixel centres, no antialiasing, edges repeated; or its antialiased one: a =
-0.5, and the kernel widens when it shrinks a picture. Pillow's differs, since it rounds twice.
"""

import dataclasses
import math
from functools import reduce
from operator import iadd
from typing import NamedTuple

import numpy as np
from einops import rearrange, repeat
from jaxtyping import Float32, Int64, UInt8

from tokmerge_jax.data.pixels import rand_augment

_CUBIC, _WIDE_CUBIC = -0.75, -0.5  # the free parameter of cubic convolution (Keys 1981) in PyTorch
_RATIOS = 3 / 4, 4 / 3  # of width and height
_TRIES = 10  # number of random boxes tried before the central one is taken


class Box(NamedTuple):
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int


def resize(
    frames: UInt8[np.ndarray, "T H W 3"], size: int, antialias: bool = False
) -> UInt8[np.ndarray, "T S S 3"]:
    """Bicubic resize to `size` x `size`; the aspect ratio is not kept.

    Sums are float32, rounded half to even and clipped. Frames of that size are returned unchanged.
    """
    _, height, width, _ = frames.shape
    if height == width == size:  # all weights would be 0 or 1
        return frames
    taps = _wide_taps if antialias else _taps
    rows, columns = taps(height, size), taps(width, size)
    # In a line, the three channels of a pixel lie side by side.
    places = rearrange(3 * columns.places[..., None] + np.arange(3), "tap s c -> tap (s c)")
    columns = _Taps(places, repeat(columns.weights, "tap s -> tap (s c)", c=3))
    return np.stack([_resize_frame(frame, rows, columns) for frame in frames])


def crop_resize(
    frames: UInt8[np.ndarray, "T H W 3"], box: Box, size: int, flip: bool = False
) -> UInt8[np.ndarray, "T S S 3"]:
    """Crops one box from all frames and resizes it to `size` x `size`; `flip` mirrors it."""
    top, left, height, width = box
    out = resize(frames[:, top : top + height, left : left + width], size)
    return np.ascontiguousarray(out[:, :, ::-1]) if flip else out


def random_box(height: int, width: int, rng: np.random.Generator, min_scale: float) -> Box:
    """Draws a box of at least `min_scale` of the area, with width / height from 3/4 to 4/3.

    The area is uniform, the ratio log-uniform. If ten draws do not fit, the largest central box
    of such a ratio is taken (Inception's crop, Szegedy 2014, as torchvision draws it).
    """
    low, high = _RATIOS
    for _ in range(_TRIES):
        area = height * width * rng.uniform(min_scale, 1)
        ratio = math.exp(rng.uniform(math.log(low), math.log(high)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
            return Box(int(top), int(left), h, w)
    h, w = min(height, round(width / low)), min(width, round(height * high))
    return Box((height - h) // 2, (width - w) // 2, h, w)


@dataclasses.dataclass(frozen=True)
class Resize:
    """Frames [T,H,W,3] -> [T,size,size,3], for evaluation."""

    size: int
    antialias: bool = False

    def __call__(
        self, frames: UInt8[np.ndarray, "T H W 3"], rng: np.random.Generator | None = None
    ) -> UInt8[np.ndarray, "T S S 3"]:
        """Applies `resize`; `rng` is not used."""
        del rng
        return resize(frames, self.size, self.antialias)


@dataclasses.dataclass(frozen=True)
class RandomResizedCrop:
    """Frames [T,H,W,3] -> [T,size,size,3], for training: one box and one flip for all frames."""

    size: int
    min_scale: float = 0.5
    flip: bool = True
    operations: bool = False  # whether RandAugment comes first

    def __call__(
        self, frames: UInt8[np.ndarray, "T H W 3"], rng: np.random.Generator
    ) -> UInt8[np.ndarray, "T S S 3"]:
        """Applies `crop_resize` to a `random_box`; a flip has probability 0.5."""
        if self.operations and (steps := rand_augment.draw(rng)):
            frames = rand_augment.apply(frames, steps)
        _, height, width, _ = frames.shape
        box = random_box(height, width, rng, self.min_scale)
        return crop_resize(frames, box, self.size, self.flip and rng.random() < 0.5)


class _Taps(NamedTuple):
    """The input places that each of S output places reads, and their weights."""

    places: Int64[np.ndarray, "taps S"]
    weights: Float32[np.ndarray, "taps S"]


def _taps(extent: int, size: int) -> _Taps:
    scale = np.float32(extent / size)
    place = scale * (np.arange(size, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)
    floor = np.floor(place)
    offset = np.arange(-1, 3, dtype=np.float32)[:, None]
    places = np.clip(floor + offset, 0, extent - 1).astype(np.int64)
    return _Taps(places, _cubic(np.abs(place - floor - offset)).astype(np.float32))


def _wide_taps(extent: int, size: int) -> _Taps:
    """The taps of an antialiased resize; places beyond the picture have no weight."""
    scale = max(extent / size, 1)
    centre = extent / size * (np.arange(size) + 0.5)
    first = np.floor(centre - 2 * scale + 0.5)
    places = first + np.arange(math.ceil(4 * scale) + 1)[:, None]
    weights = _cubic(np.abs(places + 0.5 - centre) / scale, _WIDE_CUBIC)
    weights *= (places >= 0) & (places < extent)
    weights /= weights.sum(axis=0)
    return _Taps(places.clip(0, extent - 1).astype(np.int64), weights.astype(np.float32))


def _cubic(x: np.ndarray, a: float = _CUBIC) -> np.ndarray:
    """Keys' cubic convolution kernel at distances x >= 0, in float64."""
    x = x.astype(np.float64)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def _resize_frame(frame: np.ndarray, rows: _Taps, columns: _Taps) -> np.ndarray:
    """Resizes a frame [H,W,3]; `columns` are those of all channels."""
    lines = rearrange(frame, "h w c -> h (w c)")
    # Rows first: whole lines are copied, and only the lines that are read become floats.
    tall = reduce(iadd, (w[:, None] * lines[i] for i, w in zip(*rows, strict=True)))
    wide = reduce(iadd, (w * tall.take(i, axis=1) for i, w in zip(*columns, strict=True)))
    wide = np.clip(np.rint(wide), 0, 255).astype(np.uint8)
    return rearrange(wide, "h (w c) -> h w c", c=3)
