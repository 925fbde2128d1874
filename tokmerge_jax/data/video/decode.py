"""Decoding just the wanted frames of a video, exactly, with PyAV.

A frame is what FFmpeg shows when it decodes a file from start to end; packets that it cannot decode
are passed over. A container says when each packet is shown, without decoding it. So the frames are
counted and numbered by reading packets, and only the groups of pictures that hold wanted frames are
decoded, each from its keyframe on.

Packets are not frames everywhere: some are hidden, damaged, empty, half a frame, or need others
that were cut off. Where the packets themselves or the first frames show this, the file is decoded
once to count its frames; where only the wanted frames show it, `RecountedError` reports it, after
which the frames have their true numbers (`read_chosen` handles both). A file that was counted is
read from its start.
"""

import contextlib
import itertools
import pathlib
from bisect import bisect_right
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from jaxtyping import UInt8

from tokmerge_jax.data.video.frame_folder import FrameFolder, is_pattern
from tokmerge_jax.data.video.packets import HEAD, Index, MistrustError, Packets
from tokmerge_jax.data.video.scaling import Scaler
from tokmerge_jax.types import UserError

_DEFAULT_RATE = 25.0  # frames a second where a container does not say
_BUFFER = 1 << 18  # bytes read at a time
_NOTHING_ELSE = {"protocol_whitelist": "none"}  # such as playlists and patterns would open

_TITLES: dict[str, Any] = (  # PyAV 18 refuses those that are not UTF-8, unless told; 19 takes them
    {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
)


class RecountedError(UserError):
    """The frames are others than the packets said; `Video.length` is right from now on."""


class Video:
    """An open video, its frames numbered in the order in which they are shown; see `open_video`."""

    def __init__(self, path: pathlib.Path, size: int, opened: contextlib.ExitStack):
        """`opened` holds what is to be closed."""
        self._path, self._opened = path, opened
        self._open()
        self._scaler = Scaler(size) if size and not self._is_picture else None
        self._is_counted = False
        try:
            self._index = self._by_packets()
        except MistrustError:
            self._recount()

    @property
    def length(self) -> int:
        """Number of frames."""
        return self._index.count

    @property
    def unshown(self) -> int:
        """Number of packets of which no frame is shown: hidden ones, those that an edit list
        discards, damaged ones, those that need what was cut off. Decord (0.6) counts them all.
        """
        return self._packed - self.length

    @property
    def rate(self) -> float:
        """Mean frames per second."""
        return float(self._stream.average_rate or _DEFAULT_RATE)

    def read(self, indices: Sequence[int]) -> UInt8[np.ndarray, "T H W 3"]:
        """RGB frames by number, in any order, repeats allowed; as large as the first one is, or
        scaled to the size that the video was opened for. If all numbers are one, as a picture's
        are, the frames are views of one array, not to be written to.

        Raises:
          RecountedError: once at most, if decoding shows that the frames are others than the
            packets said. Then `length` is right, and numbers are to be chosen anew.
          UserError: naming the video, if it has no such frame.
        """
        wanted = sorted(set(map(int, indices)))
        with _naming(self._path):
            try:
                found = self._found(wanted)
            except (MistrustError, FFmpegError):
                if self._is_counted:
                    raise
                self._recount()
                raise RecountedError(
                    f"{self._path}: damaged or cut; its {self.length} frames are numbered anew"
                ) from None
        if len(wanted) == 1:
            frame = found[wanted[0]]
            return np.broadcast_to(frame, (len(indices), *frame.shape))
        return np.stack([found[int(i)] for i in indices])

    def _found(self, wanted: Sequence[int]) -> dict[int, np.ndarray]:
        """All that are wanted."""
        found = self._by_time(wanted) if self._index.times else self._by_count(wanted)
        if len(found) == len(wanted):
            return found
        if not self._is_counted:
            raise MistrustError
        missing = next(i for i in wanted if i not in found)
        raise UserError(
            f"{self._path}: frame {missing} of {self.length} cannot be decoded; replace the file or"
            " leave it out"
        )

    @property
    def _is_picture(self) -> bool:
        """Whether the file is a picture's (JPEG, PNG, ...), a video of one frame."""
        return self._container.format.name.endswith("_pipe")

    def _open(self) -> None:
        """Opens the file as a Python object, by which FFmpeg reaches no other file or address."""
        self._opened.close()
        file = self._opened.enter_context(self._path.open("rb", buffering=0))
        self._container = self._opened.enter_context(
            av.open(file, "r", container_options=_NOTHING_ELSE, buffer_size=_BUFFER, **_TITLES)
        )
        stream = self._container.streams.best("video")
        if not isinstance(stream, av.VideoStream):
            raise UserError(f"{self._path} holds no video stream")
        if stream.codec_context is None:
            raise UserError(f"{self._path}: there is no decoder for its video; encode it anew")
        self._stream = stream
        self._stream.thread_count = 1  # worker processes share the cores already

    def _by_packets(self) -> Index:
        """What the packets say, where the first frames agree."""
        if self._is_picture:
            raise MistrustError  # JPEGs may have others behind the first
        packets, head = Packets(self._stream.codec.canonical_name), list[av.VideoFrame]()
        count = 0
        for packet in self._packets():
            if packet is not None:
                packets.add(packet)
            if packet is None:
                head += self._decoded(None)
            elif len(head) < HEAD:
                head += self._decoded(packet)
                count = len(packets.times)
        index = packets.index(head, count, self._stream.codec_context.has_b_frames)
        self._shape, self._packed = _shape(head[0]), self._seen
        return index

    def _recount(self) -> None:
        """Counts the frames by decoding them."""
        self._is_counted = True
        self._open()
        frames = itertools.islice(self._frames(), 1 if self._is_picture else None)
        first = next(frames, None)
        if first is None:
            raise UserError(f"{self._path} holds no frame that can be decoded")
        self._shape = _shape(first)
        self._index = Index(1 + sum(1 for _ in frames))
        self._packed = self._seen

    def _by_time(self, wanted: Sequence[int]) -> dict[int, np.ndarray]:
        times, keyframes = self._index.times, self._index.keyframes
        found: dict[int, np.ndarray] = {}
        groups = itertools.groupby(wanted, lambda i: bisect_right(keyframes, times[i]) - 1)
        for group, members in groups:
            begin = keyframes[max(group, 0)]
            self._container.seek(begin, stream=self._stream)
            found |= self._decode({times[i]: i for i in members}, begin)
        missing = {times[i]: i for i in wanted if i not in found}
        if missing:  # the seek was inexact, or a keyframe was none
            self._open()
            found |= self._decode(missing, times[0])
        return found

    def _by_count(self, wanted: Sequence[int]) -> dict[int, np.ndarray]:
        self._open()
        frames = itertools.islice(self._frames(), wanted[-1] + 1)
        chosen = frozenset(wanted)
        return {i: self._pixels(frame) for i, frame in enumerate(frames) if i in chosen}

    def _decode(self, numbers: Mapping[int, int], begin: int) -> dict[int, np.ndarray]:
        """Decodes from here on until all of `numbers` (by time) are found or passed; frames shown
        before `begin` may lack those that they refer to.
        """
        found: dict[int, np.ndarray] = {}
        last = max(numbers)
        for frame in self._frames(numbers):
            if frame.pts is None:
                continue
            if frame.is_corrupt and frame.pts >= begin:
                raise MistrustError
            if frame.pts in numbers:
                found[numbers[frame.pts]] = self._pixels(frame)
            if frame.pts >= last:
                break
        return found

    def _frames(self, wanted: Container[int | None] | None = None) -> Iterator[av.VideoFrame]:
        """Frames from here on; with `wanted` times, less the others that no frame refers to."""
        for packet in self._packets():
            needed = wanted is None or packet is None or packet.pts in wanted
            self._stream.codec_context.skip_frame = "DEFAULT" if needed else "NONREF"
            yield from self._decoded(packet)

    def _packets(self) -> Iterator[av.Packet | None]:
        """Packets up to the end, or to where the file cannot be read on; then None, at which the
        decoder hands out what it still holds. Empty ones, which AVI has, would end it before.
        """
        self._seen = 0
        with contextlib.suppress(FFmpegError, IndexError):  # PyAV's, where streams are added
            for packet in self._container.demux(self._stream):
                if packet.size:
                    self._seen += 1
                    yield packet
        yield None

    def _decoded(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        try:
            return self._stream.decode(packet)
        # Of this packet; FFmpeg shows those behind it. A ValueError says that no codec is known.
        except (FFmpegError, ValueError):
            if self._is_counted:
                return []
            raise MistrustError from None

    def _pixels(self, frame: av.VideoFrame) -> np.ndarray:
        if self._scaler is not None:
            return self._scaler(frame)
        turns = _turns(frame)
        height, width = self._shape[:: -1 if turns % 2 else 1]  # a stream may change its size
        pixels = frame.to_ndarray(format="rgb24", width=width, height=height)
        return np.rot90(pixels, turns) if turns else pixels


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
    with contextlib.ExitStack() as opened:
        with _naming(path):
            if not path.is_file():
                raise UserError(f"{path}: no such video file")
            video = Video(path, size, opened)
        yield video


def read_chosen(
    video: Video | FrameFolder, choose: Callable[[int], Sequence[int]]
) -> UInt8[np.ndarray, "T H W 3"]:
    """The frames whose numbers `choose` takes of a length; anew, if reading shows another length.

    Raises:
      UserError: naming the video, if it breaks while it is read.
    """
    try:
        return video.read(choose(video.length))
    except RecountedError:
        return video.read(choose(video.length))


@contextlib.contextmanager
def _naming(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except (FFmpegError, OSError) as error:
        raise UserError(f"{path}: cannot be decoded ({error.strerror})") from error


def _shape(frame: av.VideoFrame) -> tuple[int, int]:
    """Height and width of a frame, as shown."""
    height, width = frame.height, frame.width
    return (width, height) if _turns(frame) % 2 else (height, width)


def _turns(frame: av.VideoFrame) -> int:
    """Quarter turns, counter-clockwise, at which a frame is shown."""
    return round(frame.rotation / 90)
