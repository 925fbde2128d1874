"""Cuts videos into windows, and reads the clip of each; long videos part by part.

A part's frames are decoded in order, each once, also if several windows share it; only the group of
pictures at the beginning of a part may be decoded again. Shots, if asked for, are found before the
first part: all frames are then decoded twice.
"""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int, Int64, UInt8

from tokmerge_jax.data.sampling.frames import Span
from tokmerge_jax.data.video.clips import Decoder
from tokmerge_jax.data.video.decode import RecountedError, Video, open_video
from tokmerge_jax.data.video.folder import Stamp
from tokmerge_jax.data.video.frame_folder import FrameFolder
from tokmerge_jax.data.video.workers import Fault, in_order
from tokmerge_jax.own_videos.shots import cuts

_FRAMES = 512  # of the clips in a part: 77 MB of 224 x 224 pixels
_WHOLE = 1.25  # a video up to this many windows long is one window


@dataclasses.dataclass(frozen=True)
class Window:
    """A window of a video.

    Attributes:
      path: the video.
      start: start of the window in seconds.
      stop: its end in seconds.
      duration: length of the video in seconds.
      frames: number of frames of the video.
      last: whether it is the video's last window.
    """

    path: str
    start: float
    stop: float
    duration: float
    frames: int
    last: bool


class Entry(NamedTuple):
    """What an index knows of a file: its stamp, and why it cannot be used; "" if it can."""

    stamp: Stamp
    fault: str = ""


Batch = tuple[tuple[Window, ...], UInt8[np.ndarray, "B T S S 3"]]
"""Windows and their clips; further clips are padding."""


class Place(NamedTuple):
    """Where a part begins.

    Attributes:
      path: the video.
      first: the number of the part's first window.
      shots: the first frame of each shot of the video, ascending from 0; () = not found yet.
    """

    path: str
    first: int = 0
    shots: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Part:
    """Some successive windows of a video.

    Attributes:
      windows: the windows.
      frames: all their frames, S pixels wide and high.
      chosen: places in `frames` of each window's T frames.
      total: number of windows of the video.
      shots: see `Place`.
    """

    windows: Sequence[Window]
    frames: UInt8[np.ndarray, "U S S 3"]
    chosen: Int[np.ndarray, "W T"]
    total: int
    shots: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Reader:
    """Reads windows; picklable.

    Attributes:
      decoder: selects the frames of a window as those of a whole video.
      transform: frames uint8 [T,H,W,3] -> [T,S,S,3], one by one.
      length: length of a window in seconds; 0 = whole videos, or whole shots.
      stride: time in seconds from one window's start to the next's, at most.
      cut_shots: whether windows end where shots do (`own_videos.shots`).
    """

    decoder: Decoder
    transform: Callable[[np.ndarray], np.ndarray]
    length: float
    stride: float
    cut_shots: bool = False

    @property
    def per_part(self) -> int:
        """Number of windows of a part."""
        return max(_FRAMES // self.decoder.frames, 1)

    def name(self, place: Place) -> str:
        """The full path of a part's video."""
        return self.decoder.name(place.path)

    def spans(
        self, frames: int, rate: float, shots: Sequence[int] = (0,)
    ) -> Int64[np.ndarray, "W 2"]:
        """Cuts a video, shot by shot: first frame of each window, and the one after its last.

        The windows of a shot are equally long and evenly spread: the first begins with the shot,
        the last ends with it.

        Args:
          frames: number of frames of the video.
          rate: frames per second.
          shots: the first frame of each shot, ascending from 0; those past the end do not count.
        """
        edges = [*(first for first in shots if first < frames), frames]
        return np.concatenate(
            [first + self._spans(end - first, rate) for first, end in itertools.pairwise(edges)]
        )

    def _spans(self, frames: int, rate: float) -> Int64[np.ndarray, "W 2"]:
        """Cuts a single shot of a number of `frames`."""
        length = max(round(self.length * rate), 1)
        if not self.length or frames <= _WHOLE * length:
            return np.array([[0, frames]])
        stride = max(round(self.stride * rate), 1)
        count = 1 + -(-(frames - length) // stride)
        starts = np.linspace(0, frames - length, count).astype(np.int64)
        return np.stack([starts, starts + length], axis=1)

    def __call__(self, place: Place) -> Part:
        """Reads a part of a video.

        Raises:
          UserError: if the video is missing or cannot be decoded; the message names it.
        """
        if not place.shots:
            shots = cuts(self.name(place)) if self.cut_shots else (0,)
            place = place._replace(shots=shots)
        turn = place.first // self.per_part % 2
        _, video = _opened(self.name(place), self.decoder.size)
        if turn and isinstance(video, Video) and video.counts:
            _, video = _opened(self.name(place), self.decoder.size, turn)
        try:
            return self._part(video, *place)
        except RecountedError:  # its length is correct from now on
            return self._part(video, *place)

    def _part(
        self, video: Video | FrameFolder, path: str, first: int, shots: tuple[int, ...]
    ) -> Part:
        spans, rate = self.spans(video.length, video.rate, shots), video.rate
        first = min(first, len(spans) - 1)  # a recount may leave fewer than the first part knew
        some = spans[first : first + self.per_part]
        seconds = self.decoder.seconds if len(spans) == 1 else 0
        chosen = [
            begin + self.decoder.choose(Span(end - begin, rate, seconds), self.decoder.frames, None)
            for begin, end in some.tolist()
        ]
        numbers, places = np.unique(chosen, return_inverse=True)
        frames = video.read(numbers.tolist(), lambda frame: self.transform(frame[None])[0])
        times: Float64[np.ndarray, "W 2"] = some / rate
        windows = [
            Window(path, start, stop, video.length / rate, video.length, number == len(spans) - 1)
            for number, (start, stop) in enumerate(times.tolist(), first)
        ]
        return Part(windows, frames, places.reshape(len(some), -1), len(spans), shots)


@functools.lru_cache(maxsize=2)
def _opened(
    name: str, size: int, turn: int = 0
) -> tuple[contextlib.ExitStack, Video | FrameFolder]:
    """The open video, and what closes it with the last reference.

    A worker's next part may be of the same video, and opening reads all packets of a file. Parts
    overlap, and where frames are counted, one before the last would be counted from the start:
    every other part has a `turn` of its own, so that both only go on.
    """
    opened = contextlib.ExitStack()
    return opened, opened.enter_context(open_video(name, size))


def batches(
    reader: Reader,
    paths: Sequence[str],
    workers: int,
    batch_size: int,
    refuse: Callable[[str, str], None],
) -> Iterator[Batch]:
    """Yields batches of windows and their clips; the last one repeats a clip up to `batch_size`.

    The windows of a video are in order. First come all videos' first parts, then the other parts.

    Args:
      reader: reads the parts.
      paths: the videos.
      workers: number of processes that decode.
      batch_size: B.
      refuse: called for each part that cannot be used, with its video's path and the reason.
    """
    clips = _clips(reader, paths, workers, refuse)
    _opened.cache_clear()  # without workers: files may have changed
    while some := list(itertools.islice(clips, batch_size)):
        windows, chunk = zip(*some, strict=True)
        yield windows, np.stack([*chunk, *[chunk[0]] * (batch_size - len(chunk))])


def _clips(
    reader: Reader, paths: Sequence[str], workers: int, refuse: Callable[[str, str], None]
) -> Iterator[tuple[Window, UInt8[np.ndarray, "T S S 3"]]]:
    places, ended = [*map(Place, paths)], set[str]()
    while places:
        others: list[Place] = []
        parts = in_order(reader, places, workers, reader.name)
        for place, part in zip(places, parts, strict=True):
            if isinstance(part, Fault):
                refuse(place.path, part.text)
                continue
            if place.path in ended:  # a recount left fewer windows than the first part knew
                continue
            for window, chosen in zip(part.windows, part.chosen, strict=True):
                yield window, part.frames[chosen]
            if part.windows[-1].last:
                ended.add(place.path)
            if not place.first:
                begins = range(reader.per_part, part.total, reader.per_part)
                others += [Place(place.path, first, part.shots) for first in begins]
        places = others
