"""Writes frames as a video file."""

import os
from collections.abc import Mapping
from typing import NamedTuple

import av
import numpy as np
from jaxtyping import UInt8


class Codec(NamedTuple):
    """How a file holds frames.

    Attributes:
      container: name of the format.
      encoder: name of the encoder.
      layout: layout of the pixels; those of H.264 need an even height and width.
      options: options of the encoder.
    """

    container: str
    encoder: str
    layout: str
    options: Mapping[str, str] = {}


LOSSLESS = Codec("matroska", "ffv1", "bgr0")
"""Exactly the pixels; each frame can be read on its own."""


def h264(preset: str) -> Codec:
    """H.264 in MP4; equal frames give equal files, from every process.

    x264's macroblock tree is off: its vector code reads memory that nobody has written, so that
    quantisers differ from run to run.

    Args:
      preset: weighs time against size, as x264 names it: "veryfast", "medium".
    """
    options = {"crf": "18", "preset": preset, "x264-params": "mbtree=0"}
    return Codec("mp4", "libx264", "yuv420p", options)


def write(
    path: os.PathLike[str],
    frames: UInt8[np.ndarray, "T H W 3"],
    rate: int,
    codec: Codec,
    threads: int = 0,
) -> None:
    """Writes frames as a video.

    Args:
      path: the file, of any name.
      frames: the frames, RGB.
      rate: number of frames per second.
      codec: how the file holds them.
      threads: number of threads; 0 = the encoder's choice.
    """
    with av.open(os.fspath(path), "w", format=codec.container) as container:
        stream = container.add_stream(codec.encoder, rate=rate, options=dict(codec.options))
        assert isinstance(stream, av.VideoStream)
        stream.codec_context.thread_count = threads
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = codec.layout
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
