"""Animations of painted clips: rows side by side, as MP4 and GIF."""

import pathlib
from collections.abc import Sequence

import numpy as np
from einops import repeat
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from tokmerge_jax import video_file
from tokmerge_jax.visualize.patches import Scale
from tokmerge_jax.visualize.rows import Row

_GAP, _LINE = 6, 22  # pixels between rows; height of a line of text
_BAR = 10  # height of a colour scale in pixels


def panels(rows: Sequence[Row]) -> UInt8[np.ndarray, "T Y X 3"]:
    """Puts all rows side by side on white, labels above, scales below; Y and X are even."""
    frames, height, width, _ = rows[0].frames.shape
    shape = (height + 3 * _LINE, len(rows) * (width + _GAP) - _GAP)
    page = Image.new("RGB", tuple(size + size % 2 for size in reversed(shape)), "white")
    lefts = [place * (width + _GAP) for place in range(len(rows))]
    for row, left in zip(rows, lefts, strict=True):
        _write(page, " ".join(row.label.split()), left + width / 2, 0)
        if row.scale is not None:
            _colour_bar(page, row.scale, (left, _LINE + height + _GAP, width))
    canvas = repeat(np.asarray(page), "y x c -> t y x c", t=frames)
    for row, left in zip(rows, lefts, strict=True):
        canvas[:, _LINE : _LINE + height, left : left + width] = row.frames
    return canvas


def _colour_bar(page: Image.Image, scale: Scale, place: tuple[int, int, int]) -> None:
    """Draws a colour scale with ticks below it at (left, top, width)."""
    left, top, width = place
    colours = scale.paint(np.asarray(scale.norm.inverse(np.linspace(0, 1, width))))
    bar = repeat((255 * colours).astype(np.uint8), "x c -> y x c", y=_BAR)
    page.paste(Image.fromarray(bar), (left, top))
    for tick in scale.ticks:
        right = scale.norm(tick) * (width - 1)
        ImageDraw.Draw(page).line([(left + right, top + _BAR), (left + right, top + _BAR + 3)], 0)
        _write(page, f"{tick:g}", left + right, top + _BAR + 1)


def _write(page: Image.Image, text: str, middle: float, top: int) -> None:
    """Writes a line of text centred on a column of pixels, kept within the page."""
    font = ImageFont.load_default(size=_LINE * 2 // 3)
    length = font.getlength(text)
    left = min(max(middle - length / 2, 0), page.width - length)
    ImageDraw.Draw(page).text((left, top + 2), text, "black", font)


def write_mp4(path: pathlib.Path, frames: UInt8[np.ndarray, "T Y X 3"], rate: int) -> None:
    """Writes H.264 in MP4 at `rate` frames per second; Y and X must be even."""
    video_file.write(path, frames, rate, video_file.h264("medium"))


def write_gif(path: pathlib.Path, frames: UInt8[np.ndarray, "T Y X 3"], rate: int) -> None:
    """Writes a looping GIF at `rate` frames per second; each frame has its own 256 colours."""
    first, *others = (
        Image.fromarray(frame).quantize(256, dither=Image.Dither.NONE) for frame in frames
    )
    first.save(path, save_all=True, append_images=others, duration=1000 // rate, loop=0)
