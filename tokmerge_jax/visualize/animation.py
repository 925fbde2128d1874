"""Painted clips that play: panels side by side, as MP4 and as GIF."""

import pathlib
from collections.abc import Mapping

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

_GAP, _CAPTION = 4, 28  # pixels between panels, and above them for what they are
_ENCODING = {"crf": "18", "preset": "medium"}


def panels(rows: Mapping[str, UInt8[np.ndarray, "T H W 3"]]) -> UInt8[np.ndarray, "T Y X 3"]:
    """Frames with all rows side by side under their labels, of even height and width, on white."""
    pictures = list(rows.values())
    frames, height, width, _ = pictures[0].shape
    shape = (height + _CAPTION, len(rows) * (width + _GAP) - _GAP)
    canvas = np.full((frames, *(size + size % 2 for size in shape), 3), 255, np.uint8)
    title = Image.fromarray(canvas[0])
    font = ImageFont.load_default(size=_CAPTION // 2)
    for place, label in enumerate(rows):
        left = place * (width + _GAP)
        ImageDraw.Draw(title).text((left + 2, 6), " ".join(label.split()), "black", font)
    canvas[:] = np.asarray(title)
    for place, picture in enumerate(pictures):
        left = place * (width + _GAP)
        canvas[:, _CAPTION : _CAPTION + height, left : left + width] = picture
    return canvas


def write_mp4(path: pathlib.Path, frames: UInt8[np.ndarray, "T Y X 3"], rate: int) -> None:
    """Writes H.264 in MP4, `rate` frames a second; Y and X must be even."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options=_ENCODING)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def write_gif(path: pathlib.Path, frames: UInt8[np.ndarray, "T Y X 3"], rate: int) -> None:
    """Writes a GIF that plays for ever, `rate` frames a second, all frames of one palette."""
    strip = Image.fromarray(np.concatenate(frames))
    palette = strip.quantize(colors=256, method=Image.Quantize.MEDIANCUT)
    first, *others = (
        Image.fromarray(f).quantize(palette=palette, dither=Image.Dither.NONE) for f in frames
    )
    first.save(path, save_all=True, append_images=others, duration=1000 // rate, loop=0)
