"""Frames scaled by FFmpeg on their way to RGB, as decord (0.6) scales what it decodes.

decord asks a filter graph for `scale=W:H`. It is built with FFmpeg 4.1.6, whose filter scales
bilinearly, widening the kernel where it shrinks a picture (bicubic became the default later), and
takes 4:2:0 chroma to lie between the pixels, whatever the stream says. Luma and chroma are scaled
before they become RGB, so this is not RGB frames resized.
"""

from fractions import Fraction

import av
import numpy as np
from av.filter import Graph
from jaxtyping import UInt8

_HOW = "flags=bilinear:in_chroma_loc=center"
_ANY_TIME = Fraction(1, 25)  # a graph wants to know what a tick is, though nothing here is timed


class Scaler:
    """Decoded frames -> RGB of `size` x `size`, upright; the aspect ratio is not kept."""

    def __init__(self, size: int):
        self._size = size
        self._made: tuple[tuple[str, int, int, float], Graph] | None = None

    def __call__(self, frame: av.VideoFrame) -> UInt8[np.ndarray, "S S 3"]:
        """Turned first, where a note says that it be shown turned, then scaled."""
        kind = frame.format.name, frame.width, frame.height, frame.rotation
        if self._made is None or kind != self._made[0]:  # a stream may change its size
            self._made = kind, _graph(frame, self._size)
        _, graph = self._made
        graph.vpush(frame)
        return graph.vpull().to_ndarray()


def _graph(frame: av.VideoFrame, size: int) -> Graph:
    """A graph of one frame like this in, one out."""
    graph = Graph()
    graph.threads = 1  # worker processes share the cores already
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=_ANY_TIME
    )
    graph.link_nodes(
        source,
        *(graph.add("transpose", "cclock") for _ in range(round(frame.rotation / 90) % 4)),
        graph.add("scale", f"{size}:{size}:{_HOW}"),
        graph.add("format", "rgb24"),
        graph.add("buffersink"),
    ).configure()
    return graph
