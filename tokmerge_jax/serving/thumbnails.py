"""Thumbnails: one frame of a video, as a small JPEG."""

import dataclasses
import functools
import io
import os
from typing import BinaryIO

from PIL import Image

from tokmerge_jax.data.video.still import frame_near
from tokmerge_jax.serving.files import name_of

_KEPT = 1024  # pictures of about 15 KB
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


@functools.lru_cache(_KEPT)
def thumbnail(source: Source, seconds: float, width: int) -> bytes:
    """Returns a JPEG of the frame that is shown at a time, or near it.

    Args:
      source: the video.
      seconds: the time.
      width: the largest width in pixels.

    Raises:
      UserError: if the video cannot be decoded.
    """
    written = io.BytesIO()
    Image.fromarray(frame_near(source.name, seconds, width)).save(written, "JPEG", quality=_QUALITY)
    return written.getvalue()
