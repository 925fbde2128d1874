"""Scales frames with FFmpeg before they become RGB, as decord (0.6) does.

decord uses a filter graph with `scale=W:H`. It is built with FFmpeg 4.1.6, whose filter scales
bilinearly, with a wider kernel where it shrinks a picture (bicubic became the default later), and
assumes that 4:2:0 chroma lies between the pixels, whatever the stream states. Luma and chroma are
scaled before they become RGB, so resizing RGB frames gives other values.
"""

from fractions import Fraction

import av
import numpy as np
from av.filter import Graph
from jaxtyping import UInt8

_HOW = "flags=bilinear:in_chroma_loc=center"
_ANY_TIME = Fraction(1, 25)  # a graph requires a tick length, though no time is used here


class Scaler:
    """Converts decoded frames to upright RGB of `size` x `size`, ignoring the aspect ratio."""

    def __init__(self, size: int):
        self._size = size
        self._made: tuple[tuple[str, int, int, float], Graph] | None = None

    def __call__(self, frame: av.VideoFrame) -> UInt8[np.ndarray, "S S 3"]:
        """Rotates a frame if its metadata asks for it, then scales it.

        The result is a copy: FFmpeg's own frame, of which the pixels would be a view, takes 13 KB
        for 16 x 16 of them.
        """
        kind = frame.format.name, frame.width, frame.height, frame.rotation
        if self._made is None or kind != self._made[0]:  # a stream may change its size
            self._made = kind, _graph(frame, self._size)
        _, graph = self._made
        graph.vpush(frame)
        return graph.vpull().to_ndarray().copy()


def _graph(frame: av.VideoFrame, size: int) -> Graph:
    """A filter graph for frames of this format and size: one in, one out."""
    graph = Graph()
    graph.threads = 1  # worker processes share the cores already
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=_ANY_TIME
    )
    graph.link_nodes(
        source,
        *(graph.add("transpose", "cclock") for _ in range(turns(frame) % 4)),
        graph.add("scale", f"{size}:{size}:{_HOW}"),
        graph.add("format", "rgb24"),
        graph.add("buffersink"),
    ).configure()
    return graph


def shape(frame: av.VideoFrame) -> tuple[int, int]:
    """Height and width of a frame, as shown."""
    height, width = frame.height, frame.width
    return (width, height) if turns(frame) % 2 else (height, width)


def turns(frame: av.VideoFrame) -> int:
    """Number of counter-clockwise quarter turns by which a frame is rotated when shown."""
    return round(frame.rotation / 90)
