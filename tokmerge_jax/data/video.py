"""Decoding just the wanted frames of a video, exactly, with PyAV.

A container says when each packet is shown, without decoding it. So a file's frames are counted and
numbered by reading its packets, and only the groups of pictures that hold wanted frames are
decoded, each from its keyframe on. Where a container does not say (some AVI files, bare streams),
the frames are decoded from the start and counted as they come.
"""

import contextlib
import dataclasses
import itertools
import pathlib
from bisect import bisect_right
from collections.abc import Container, Iterator, Mapping, Sequence

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from jaxtyping import UInt8

from tokmerge_jax.data.frame_folder import FrameFolder, is_pattern
from tokmerge_jax.data.scaling import Scaler
from tokmerge_jax.types import UserError

_DEFAULT_RATE = 25.0  # frames a second where a container does not say


@dataclasses.dataclass(frozen=True)
class _Index:
    """When the frames of a stream are shown (ticks, ascending) and which are keyframes.

    `times` is empty if the container does not say; `count` is known all the same.
    """

    count: int
    times: tuple[int, ...]
    keyframes: tuple[int, ...]


class Video:
    """An open video, its frames numbered in the order in which they are shown; see `open_video`."""

    def __init__(self, path: pathlib.Path, size: int = 0):
        self._path = path
        self._open()
        self._scaler = Scaler(size) if size and not self._is_picture else None
        most = 1 if self._is_picture else None  # JPEGs may have others behind the first
        self._index = _read_index(self._container, self._stream, most)
        if not self._index.count:
            raise UserError(f"{path} holds no frames")

    @property
    def length(self) -> int:
        """How many frames there are."""
        return self._index.count

    @property
    def rate(self) -> float:
        """Mean frames per second."""
        return float(self._stream.average_rate or _DEFAULT_RATE)

    def read(self, indices: Sequence[int]) -> UInt8[np.ndarray, "T H W 3"]:
        """RGB frames by number, in any order, repeats allowed; as large as the first one is, or
        scaled to the size that the video was opened for. If all numbers are one, as a picture's
        are, the frames are views of one array, not to be written to.

        Raises:
          UserError: naming the video, if one of them cannot be decoded.
        """
        wanted = sorted(set(map(int, indices)))
        with _naming(self._path):
            found = self._by_time(wanted) if self._index.times else self._by_count(wanted)
        missing = [i for i in wanted if i not in found]
        if missing:
            raise UserError(
                f"{self._path}: frame {missing[0]} of {self.length} cannot be decoded; replace the "
                "file or leave it out"
            )
        if len(wanted) == 1:
            frame = found[wanted[0]]
            return np.broadcast_to(frame, (len(indices), *frame.shape))
        return np.stack([found[int(i)] for i in indices])

    @property
    def _is_picture(self) -> bool:
        """Whether the file is a picture's (JPEG, PNG, ...), a video of one frame."""
        name = self._container.format.name
        return name.endswith("_pipe") or name == "image2"

    def close(self) -> None:
        """Closes the file."""
        self._container.close()

    def _open(self) -> None:
        self._container = av.open(str(self._path))
        stream = self._container.streams.best("video")
        if not isinstance(stream, av.VideoStream):
            raise UserError(f"{self._path} holds no video stream")
        if stream.codec_context is None:
            raise UserError(f"{self._path}: there is no decoder for its video; encode it anew")
        self._stream = stream
        self._stream.thread_count = 1  # worker processes share the cores already

    def _by_time(self, wanted: Sequence[int]) -> dict[int, np.ndarray]:
        times, keyframes = self._index.times, self._index.keyframes
        found: dict[int, np.ndarray] = {}
        groups = itertools.groupby(wanted, lambda i: bisect_right(keyframes, times[i]) - 1)
        for group, members in groups:
            self._container.seek(keyframes[max(group, 0)], stream=self._stream)
            found |= self._decode({times[i]: i for i in members})
        missing = {times[i]: i for i in wanted if i not in found}
        if missing:  # the seek was inexact, or a keyframe was none
            self._restart()
            found |= self._decode(missing)
        return found

    def _by_count(self, wanted: Sequence[int]) -> dict[int, np.ndarray]:
        self._restart()
        frames = itertools.islice(self._frames(), wanted[-1] + 1)
        chosen = frozenset(wanted)
        return {i: self._pixels(frame) for i, frame in enumerate(frames) if i in chosen}

    def _restart(self) -> None:
        self.close()
        self._open()

    def _decode(self, numbers: Mapping[int, int]) -> dict[int, np.ndarray]:
        """Decodes from here on until all of `numbers` (by time) are found or passed."""
        found: dict[int, np.ndarray] = {}
        last = max(numbers)
        for frame in self._frames(numbers):
            if frame.pts is None:
                continue
            if frame.pts in numbers:
                found[numbers[frame.pts]] = self._pixels(frame)
            if frame.pts >= last:
                break
        return found

    def _frames(self, wanted: Container[int | None] | None = None) -> Iterator[av.VideoFrame]:
        """Frames from here on; with `wanted` times, less the others that no frame refers to."""
        for packet in self._container.demux(self._stream):
            needed = wanted is None or packet.pts in wanted
            self._stream.codec_context.skip_frame = "DEFAULT" if needed else "NONREF"
            yield from self._stream.decode(packet)

    def _pixels(self, frame: av.VideoFrame) -> np.ndarray:
        if self._scaler is not None:
            return self._scaler(frame)
        context = self._stream.codec_context  # a stream may change its size; the first one rules
        pixels = frame.to_ndarray(format="rgb24", width=context.width, height=context.height)
        return np.rot90(pixels, round(frame.rotation / 90)) if frame.rotation else pixels


@contextlib.contextmanager
def open_video(path: pathlib.Path | str, size: int = 0) -> Iterator[Video | FrameFolder]:
    """Opens a video file, or a folder of frames, for the length of a `with` block.

    Args:
      path: of the file, or, of a folder of frames, with the pattern of its files
        (`frame_folder`).
      size: the edge that FFmpeg scales frames to (`scaling.Scaler`); 0 = as large as they are, as
        pictures (JPEG, PNG, ...), alone or in a folder of frames, always are.

    Raises:
      UserError: naming the file, if it is missing, is no video, or breaks while it is read.
    """
    path = pathlib.Path(path)
    if is_pattern(path):
        yield FrameFolder(path)
        return
    if not path.is_file():
        raise UserError(f"{path}: no such video file")
    with _naming(path):
        video = Video(path, size)
    try:
        yield video
    finally:
        video.close()


@contextlib.contextmanager
def _naming(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except (FFmpegError, OSError) as error:
        raise UserError(f"{path}: cannot be decoded ({error.strerror})") from error


def _read_index(
    container: InputContainer, stream: av.VideoStream, most: int | None = None
) -> _Index:
    """Of all frames, or of the first `most`."""
    packets = (p for p in container.demux(stream) if p.size and not p.is_discard)
    marks = [(p.pts, p.is_keyframe) for p in itertools.islice(packets, most)]
    times = [time for time, _ in marks if time is not None]
    told = len(set(times)) == len(marks)
    # AVI repeats the order of decoding as if it were that of showing.
    if not told or (stream.codec_context.has_b_frames and times == sorted(times)):
        return _Index(len(marks), (), ())
    shown = tuple(sorted(times))
    keyframes = sorted(time for time, is_keyframe in marks if is_keyframe and time is not None)
    return _Index(len(marks), shown, tuple(keyframes) or shown[:1])
