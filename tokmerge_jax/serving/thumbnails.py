"""Thumbnails: one frame of a video, as a small JPEG."""

import collections
import dataclasses
import io
import os
import threading
from collections.abc import Callable, Hashable
from typing import BinaryIO

from PIL import Image

from tokmerge_jax.data.video.still import frame_near
from tokmerge_jax.serving.files import name_of

_KEPT = 16 * 2**20  # bytes; a picture of 320 pixels has about 15 KB
_QUALITY = 80


@dataclasses.dataclass(frozen=True)
class Source:
    """An open video, equal to others of the same file as long as that is unchanged.

    Attributes:
      stamp: its device and number there, its size and modification time in nanoseconds.
      name: a name to open it by.
    """

    stamp: tuple[int, ...]
    name: str = dataclasses.field(compare=False)

    @classmethod
    def of(cls, file: BinaryIO) -> "Source":
        """The source that is open as `file`."""
        state = os.fstat(file.fileno())
        return cls((state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns), name_of(file))


class Recent:
    """The values that were asked for last, as many as have `limit` bytes together."""

    def __init__(self, limit: int) -> None:
        """Begins with none."""
        self._limit, self._held = limit, 0
        self._values: collections.OrderedDict[Hashable, bytes] = collections.OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """Returns the value of a key, made if it is not held; several threads may make it."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        if len(value) > self._limit:
            return value
        with self._lock:
            self._held += len(value) - len(self._values.pop(key, b""))
            self._values[key] = value
            while self._held > self._limit:
                self._held -= len(self._values.popitem(last=False)[1])
        return value


_RECENT = Recent(_KEPT)


def thumbnail(source: Source, seconds: float, width: int) -> bytes:
    """Returns a JPEG of the frame that is shown at a time, or near it.

    Args:
      source: the video.
      seconds: the time.
      width: the largest width in pixels.

    Raises:
      UserError: if the video cannot be decoded.
    """
    return _RECENT((source, seconds, width), lambda: _drawn(source.name, seconds, width))


def _drawn(name: str, seconds: float, width: int) -> bytes:
    written = io.BytesIO()
    Image.fromarray(frame_near(name, seconds, width)).save(written, "JPEG", quality=_QUALITY)
    return written.getvalue()
