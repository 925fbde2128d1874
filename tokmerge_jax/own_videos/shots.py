"""Finds the cuts between the shots of a video by the differences of its frames, small and grey.

The difference of two frames is the mean of `|a - b|` over their pixels, of 0 to 255. Frame i begins
a shot if it differs by `_LEAST` from each of the three frames before it, and if frame i - 1 differs
by as much from each of the three from i on. A flash of one or two frames, after which the picture
is as before, is therefore no cut, and neither is motion or a fade, whose frames change by little.
"""

import pathlib

import numpy as np
from jaxtyping import Int64, UInt8

from tokmerge_jax.data.video.decode import RecountedError, Video, open_video
from tokmerge_jax.data.video.frame_folder import FrameFolder

_LEAST = 25  # a fade of 11 frames never changes by as much: 255 / 11 = 23.2
_AFTER_FLASH = 3  # frames from one before a flash to the first one after it
_EDGE = 16  # of the small frames: motion inside a sixteenth of a picture hardly counts
_FRAMES = 1 << 15  # read at a time: 25 MB


def cuts(path: pathlib.Path | str) -> tuple[int, ...]:
    """The first frame of each shot of a video file, ascending from 0; decodes all frames.

    Raises:
      UserError: if it cannot be decoded; the message names it.
    """
    with open_video(path, _EDGE) as video:
        try:
            frames = _small(video)
        except RecountedError:  # its length is correct from now on
            frames = _small(video)
    return tuple(beginnings(frames).tolist())


def beginnings(frames: UInt8[np.ndarray, "T P"]) -> Int64[np.ndarray, " N"]:
    """The first frame of each shot, ascending from 0, of frames of P grey pixels."""
    begins = np.ones(len(frames), bool)
    for lag in range(1, _AFTER_FLASH + 1):
        pair = frames[:-lag], frames[lag:]
        change = np.maximum(*pair) - np.minimum(*pair)  # uint8, for long videos
        differs = change.mean(axis=1) >= _LEAST  # frame i from frame i + lag
        begins[1 : 1 + len(differs)] &= differs
        begins[lag:] &= differs
    begins[0] = True
    return np.flatnonzero(begins)


def _small(video: Video | FrameFolder) -> UInt8[np.ndarray, "T P"]:
    numbers = range(video.length)
    parts = (video.read(numbers[first:][:_FRAMES]) for first in numbers[::_FRAMES])
    grey = [part.mean(axis=-1, dtype=np.float32).astype(np.uint8) for part in parts]
    return np.concatenate(grey).reshape(video.length, -1)
