"""Thumbnails: one frame of a video, as a small JPEG."""

import functools
import io

from PIL import Image

from tokmerge_jax.data.video.still import frame_near

_KEPT = 1024  # pictures of about 15 KB
_QUALITY = 80


@functools.lru_cache(_KEPT)
def thumbnail(file: str, stamp: tuple[int, int], seconds: float, width: int) -> bytes:
    """Returns a JPEG of the frame that is shown at a time, or near it.

    Args:
      file: the video.
      stamp: its size and modification time, since results are kept.
      seconds: the time.
      width: the largest width in pixels.

    Raises:
      UserError: if the video cannot be decoded.
    """
    del stamp
    written = io.BytesIO()
    Image.fromarray(frame_near(file, seconds, width)).save(written, "JPEG", quality=_QUALITY)
    return written.getvalue()
