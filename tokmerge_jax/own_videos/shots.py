"""Finds the cuts between the shots of a video by the differences of its frames, small and grey.

The difference of two frames is the mean of `|a - b|` over their pixels, of 0 to 255. Frame i begins
a shot if it differs by `_LEAST` from each of the three frames before it, and if frame i - 1 differs
by as much from each of the three from i on. A flash of one or two frames, after which the picture
is as before, is therefore no cut, and neither is motion or a fade, whose frames change by little.
"""

import pathlib
from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from tokmerge_jax.data.video.decode import RecountedError, Video, open_video
from tokmerge_jax.data.video.frame_folder import FrameFolder

_LEAST = 25  # a fade of 11 frames never changes by as much: 255 / 11 = 23.2
_AFTER_FLASH = 3  # frames from one before a flash to the first one after it
_EDGE = 16  # of the small frames: motion inside a sixteenth of a picture hardly counts
_FRAMES = 1 << 13  # read at a time: 6 MB


def cuts(path: pathlib.Path | str) -> tuple[int, ...]:
    """The first frame of each shot of a video file, ascending from 0; decodes all frames.

    Raises:
      UserError: if it cannot be decoded; the message names it.
    """
    with open_video(path, _EDGE) as video:
        try:
            firsts = beginnings(_small(video))
        except RecountedError:  # its length is correct from now on
            firsts = beginnings(_small(video))
    return tuple(firsts.tolist())


def beginnings(parts: Iterable[UInt8[np.ndarray, "_ P"]]) -> Int64[np.ndarray, " N"]:
    """The first frame of each shot, ascending from 0, of frames of P grey pixels.

    The frames come in parts, of which only the last ones of each are kept for the next one.
    """
    lags = range(1, _AFTER_FLASH + 1)
    differs = {lag: [np.zeros(0, bool)] for lag in lags}  # frame i from frame i + lag
    last, count = None, 0
    for part in parts:
        known = part if last is None else np.concatenate([last, part])
        for lag in lags:
            later = known[max(len(known) - len(part), lag) :]
            differs[lag].append(_differs(known[len(known) - len(later) - lag :], later))
        last, count = known[-_AFTER_FLASH:].copy(), count + len(part)
    begins = np.ones(count, bool)
    for lag in lags:
        pair = np.concatenate(differs[lag])
        begins[1 : 1 + len(pair)] &= pair
        begins[lag:] &= pair
    begins[0] = True
    return np.flatnonzero(begins)


def _differs(
    frames: UInt8[np.ndarray, "T P"], later: UInt8[np.ndarray, "L P"]
) -> Bool[np.ndarray, " L"]:
    """Whether each of the first frames is unlike the one at the same place of `later`."""
    pair = frames[: len(later)], later
    change = np.maximum(*pair) - np.minimum(*pair)  # uint8
    return change.mean(axis=1) >= _LEAST


def _small(video: Video | FrameFolder) -> Iterator[UInt8[np.ndarray, "T P"]]:
    """Yields the frames in parts of at most `_FRAMES`, small and grey."""
    numbers = range(video.length)
    for first in range(0, video.length, _FRAMES):
        part = video.read(numbers[first:][:_FRAMES])
        yield part.mean(axis=-1, dtype=np.float32).astype(np.uint8).reshape(len(part), -1)
