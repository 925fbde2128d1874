"""Reads one frame of a video as a picture, without reading all of the file."""

import contextlib
import itertools
import pathlib

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from jaxtyping import UInt8

from tokmerge_jax.data.video.decode import naming, open_stream
from tokmerge_jax.data.video.scaling import turns
from tokmerge_jax.types import UserError

_MOST = 300  # frames decoded, so that a long group of pictures takes no longer


def frame_near(path: str, seconds: float, width: int) -> UInt8[np.ndarray, "H W 3"]:
    """Returns the RGB frame that is shown at a time, or near it.

    Args:
      path: the video.
      seconds: the time.
      width: the largest width in pixels; the height follows.

    Raises:
      UserError: if the file is missing or cannot be decoded; the message names it.
    """
    file = pathlib.Path(path)
    with contextlib.ExitStack() as opened, naming(file):
        container, stream = open_stream(file, opened)
        frame = _near(container, stream, seconds) or _near(container, stream, 0.0)
        if frame is None:
            raise UserError(f"{path} holds no frame that can be decoded")
        quarters = turns(frame)
        size = frame.width, frame.height
        scale = min(1, width / size[quarters % 2])
        across, down = (max(round(scale * edge), 1) for edge in size)
        return np.rot90(frame.to_ndarray(format="rgb24", width=across, height=down), quarters)


def _near(
    container: InputContainer, stream: av.VideoStream, seconds: float
) -> av.VideoFrame | None:
    """The last frame up to a time, from the keyframe before it on; None if there is none."""
    shown = None
    with contextlib.suppress(FFmpegError):  # what was decoded before is shown
        start = stream.start_time or 0
        target = start + int(seconds / stream.time_base) if stream.time_base else 0
        container.seek(target, stream=stream)
        for frame in itertools.islice(container.decode(stream), _MOST):
            if shown is not None and frame.pts is not None and frame.pts > target:
                break
            shown = frame
    return shown
