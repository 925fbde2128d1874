"""Decodes only the requested frames of a video, exactly, with PyAV.

The frames of a file are those that FFmpeg shows when it decodes the file from start to end; packets
that it cannot decode are skipped. A container states when each packet is shown, without decoding
it. So frames are counted and numbered by reading packets, and only the groups of pictures that hold
requested frames are decoded, each from its keyframe on.

A packet is not always a frame: some are hidden, damaged, empty, half a frame, or depend on packets
that were cut off. If the packets or the first frames show this, the file is decoded once to count
its frames. If only the requested frames show it, `RecountedError` is raised, and from then on the
frame numbers are correct (`read_chosen` handles both cases). A file that was counted is read from
its start.
"""

import contextlib
import itertools
import pathlib
from bisect import bisect_right
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from jaxtyping import UInt8

from tokmerge_jax.data.video.frame_folder import FrameFolder, is_pattern
from tokmerge_jax.data.video.packets import HEAD, FrameIndex, MistrustError, Packets
from tokmerge_jax.data.video.scaling import Scaler, shape, turns
from tokmerge_jax.types import UserError

_DEFAULT_RATE = 25.0  # frames per second where a container does not state its rate
_BUFFER = 1 << 18  # bytes read at a time
_NOTHING_ELSE = {"protocol_whitelist": "none"}  # playlists and patterns open no other file
_PIXELS = 2**27  # of a frame, those of 16K; a kilobyte may describe one that takes all memory
_LIMITS = {"max_pixels": str(_PIXELS)}

_TITLES: dict[str, Any] = (  # PyAV 18 refuses titles that are not UTF-8 by default; 19 reads them
    {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
)


class RecountedError(UserError):
    """The packets misstated the frames; `Video.length` is correct from now on."""


class Video:
    """An open video, its frames numbered in the order in which they are shown; see `open_video`."""

    def __init__(self, path: pathlib.Path, size: int, most: int, opened: contextlib.ExitStack):
        """`opened` closes the file and its container."""
        self._path, self._most, self._opened = path, most, opened
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
    def counts(self) -> bool:
        """Whether frames are counted, so that those before the last one mean to start again."""
        return not self._index.times

    @property
    def unshown(self) -> int:
        """Number of packets without a shown frame: hidden, discarded by an edit list, damaged, or
        dependent on a part that was cut off. Decord (0.6) counts them all as frames.
        """
        return self._packed - self.length

    @property
    def rate(self) -> float:
        """Mean frames per second."""
        return float(self._stream.average_rate or _DEFAULT_RATE)

    def read(
        self, indices: Sequence[int], each: Callable[[np.ndarray], np.ndarray] = lambda frame: frame
    ) -> UInt8[np.ndarray, "T H W 3"]:
        """Reads RGB frames by number, in any order, repeats allowed.

        Each frame is replaced by `each(frame)` as soon as it is decoded, so that many frames fit
        into memory once they are resized. All have the size of the first frame, or the size that
        the video was opened with. If all numbers are equal, as for a picture, the frames are
        read-only views of one array.

        Raises:
          RecountedError: at most once, if decoding shows that the packets misstated the frames.
            Then `length` is correct, and the caller chooses numbers again.
          UserError: if the video has no such frame; the message names the video.
        """
        wanted, self._each = sorted(set(map(int, indices))), each
        with naming(self._path):
            try:
                frames = self._frames_numbered(wanted)
            except (MistrustError, FFmpegError):
                if self._is_counted:
                    raise
                self._recount()
                raise RecountedError(
                    f"{self._path}: damaged or cut; its {self.length} frames are numbered anew"
                ) from None
        if len(wanted) == 1:
            frame = frames[wanted[0]]
            return np.broadcast_to(frame, (len(indices), *frame.shape))
        return np.stack([frames[int(i)] for i in indices])

    def _frames_numbered(self, wanted: Sequence[int]) -> dict[int, np.ndarray]:
        """Frame number -> pixels, for all `wanted` numbers."""
        frames = self._by_time(wanted) if self._index.times else self._by_count(wanted)
        if len(frames) == len(wanted):
            return frames
        if not self._is_counted:
            raise MistrustError
        missing = next(i for i in wanted if i not in frames)
        raise UserError(
            f"{self._path}: frame {missing} of {self.length} cannot be decoded; replace the file or"
            " leave it out"
        )

    @property
    def _is_picture(self) -> bool:
        """Whether the file is a picture (JPEG, PNG, ...), that is, a video of one frame."""
        return self._container.format.name.endswith("_pipe")

    def _open(self) -> None:
        self._opened.close()
        self._counting: Iterator[av.VideoFrame] | None = None
        self._container, self._stream = open_stream(self._path, self._opened)

    def _by_packets(self) -> FrameIndex:
        """Indexes the frames by packets; raises MistrustError if the first frames disagree."""
        if self._is_picture:
            raise MistrustError  # a JPEG file may hold further pictures after the first
        packets, head = Packets(self._stream.codec.canonical_name), list[av.VideoFrame]()
        count = 0
        for packet in self._packets():
            if packet is not None:
                packets.add(packet)
            if packet is None:
                head += self._decoded(None)
            elif len(head) < HEAD:
                head += self._decoded(packet)
                count = packets.shown
        index = packets.index(head, count, self._stream.codec_context.has_b_frames)
        self._shape, self._packed = shape(head[0]), self._seen
        return index

    def _recount(self) -> None:
        """Counts the frames by decoding them."""
        self._is_counted = True
        self._open()
        frames = itertools.islice(self._frames(), 1 if self._is_picture else None)
        first = next(frames, None)
        if first is None:
            raise UserError(
                f"{self._path} holds no frame that can be decoded (of at most {_PIXELS:,} pixels)"
            )
        self._shape = shape(first)
        self._index = FrameIndex(1 + sum(1 for _ in frames))
        self._packed = self._seen

    def _by_time(self, wanted: Sequence[int]) -> dict[int, np.ndarray]:
        times, keyframes = self._index.times, self._index.keyframes
        pixels: dict[int, np.ndarray] = {}
        groups = itertools.groupby(wanted, lambda i: bisect_right(keyframes, times[i]) - 1)
        for group, members in groups:
            begin = keyframes[max(group, 0)]
            self._container.seek(begin, stream=self._stream)
            pixels |= self._decode({times[i]: i for i in members}, begin)
        missing = {times[i]: i for i in wanted if i not in pixels}
        if missing:  # the seek was inexact, or a keyframe was not one
            self._open()
            pixels |= self._decode(missing, times[0])
        return pixels

    def _by_count(self, wanted: Sequence[int]) -> dict[int, np.ndarray]:
        """Counts from the start, or on from where the last count ended, if all come later."""
        if self._counting is None or wanted[0] < self._counted:
            self._open()
            self._counting, self._counted = self._frames(), 0
        counting, first, stop = self._counting, self._counted, wanted[-1] + 1
        self._counting = None  # an error ends the count
        frames = enumerate(itertools.islice(counting, stop - first), first)
        chosen = frozenset(wanted)
        pixels = {i: self._pixels(frame) for i, frame in frames if i in chosen}
        self._counting, self._counted = counting, stop
        return pixels

    def _decode(self, numbers: Mapping[int, int], begin: int) -> dict[int, np.ndarray]:
        """Decodes from the current position on; returns frame number -> pixels.

        It ends when all `numbers` (time -> frame number) are read or passed. Frames shown before
        `begin` may lack their reference frames.
        """
        pixels: dict[int, np.ndarray] = {}
        last = max(numbers)
        for frame in self._frames(numbers):
            if frame.pts is None:
                continue
            if frame.is_corrupt and frame.pts >= begin:
                raise MistrustError
            if frame.pts in numbers:
                pixels[numbers[frame.pts]] = self._pixels(frame)
            if frame.pts >= last:
                break
        return pixels

    def _frames(self, wanted: Container[int | None] | None = None) -> Iterator[av.VideoFrame]:
        """Yields frames from the current position on.

        Given `wanted` times, other frames are skipped unless they are reference frames.
        """
        for packet in self._packets():
            needed = wanted is None or packet is None or packet.pts in wanted
            self._stream.codec_context.skip_frame = "DEFAULT" if needed else "NONREF"
            yield from self._decoded(packet)

    def _packets(self) -> Iterator[av.Packet | None]:
        """Yields packets up to the end or the first unreadable place, then None.

        None flushes the decoder. Empty packets, which AVI has, would flush it too early: they are
        skipped.

        Raises:
          UserError: after as many packets as the file may have frames.
        """
        self._seen = 0
        with contextlib.suppress(FFmpegError, IndexError):  # IndexError: a stream was added
            for packet in self._container.demux(self._stream):
                if packet.size:
                    self._seen += 1
                    if 0 < self._most < self._seen:
                        raise UserError(f"{self._path} has over {self._most:,} frames; shorten it")
                    yield packet
        yield None

    def _decoded(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        try:
            return self._stream.decode(packet)
        # One bad packet: FFmpeg shows those after it. A ValueError means that the codec is unknown.
        except (FFmpegError, ValueError):
            if self._is_counted:
                return []
            raise MistrustError from None

    def _pixels(self, frame: av.VideoFrame) -> np.ndarray:
        if self._scaler is not None:
            return self._each(self._scaler(frame))
        quarters = turns(frame)
        height, width = self._shape[:: -1 if quarters % 2 else 1]  # a stream may change its size
        pixels = frame.to_ndarray(format="rgb24", width=width, height=height)
        return self._each(np.rot90(pixels, quarters) if quarters else pixels)


@contextlib.contextmanager
def open_video(
    path: pathlib.Path | str, size: int = 0, most: int = 0
) -> Iterator[Video | FrameFolder]:
    """Opens a video file, or a folder of frames, for the length of a `with` block.

    Args:
      path: the file, or, for a folder of frames, its path with the pattern of the file names
        (`frame_folder`).
      size: edge in pixels that FFmpeg scales frames to (`scaling.Scaler`); 0 = original size.
        Pictures (JPEG, PNG, ...), alone or in a folder of frames, are never scaled.
      most: number of frames that a file may have, for files of strangers; 0 = any.

    Raises:
      UserError: if the file is missing, is no video, has more frames than `most`, or fails while it
        is read; the message names it.
    """
    path = pathlib.Path(path)
    if is_pattern(path):
        yield FrameFolder(path)
        return
    with contextlib.ExitStack() as opened:
        with naming(path):
            if not path.is_file():
                raise UserError(f"{path}: no such video file")
            video = Video(path, size, most, opened)
        yield video


def open_stream(
    path: pathlib.Path, opened: contextlib.ExitStack
) -> tuple[InputContainer, av.VideoStream]:
    """Opens a file as a Python object, so that FFmpeg cannot reach other files or hosts.

    Args:
      path: the file.
      opened: closes it.

    Returns:
      Its container and video stream.

    Raises:
      UserError: if it holds no video stream, or one in an unknown codec.
    """
    file = opened.enter_context(path.open("rb", buffering=0))
    container = opened.enter_context(
        av.open(
            file,
            "r",
            options=_LIMITS,
            container_options=_NOTHING_ELSE,
            buffer_size=_BUFFER,
            **_TITLES,
        )
    )
    stream = container.streams.best("video")
    if not isinstance(stream, av.VideoStream):
        raise UserError(f"{path} holds no video stream")
    if stream.codec_context is None:
        raise UserError(f"{path}: no decoder for its video codec; encode it again")
    stream.codec_context.options = _LIMITS
    stream.thread_count = 1  # worker processes share the cores already
    return container, stream


def read_chosen(
    video: Video | FrameFolder, choose: Callable[[int], Sequence[int]]
) -> UInt8[np.ndarray, "T H W 3"]:
    """Reads the frames that `choose(length)` selects; again, if reading corrects the length.

    Raises:
      UserError: if the video fails while it is read; the message names it.
    """
    try:
        return video.read(choose(video.length))
    except RecountedError:
        return video.read(choose(video.length))


@contextlib.contextmanager
def naming(path: pathlib.Path) -> Iterator[None]:
    """Turns errors of FFmpeg and the system into a UserError that names the file."""
    try:
        yield
    except (FFmpegError, OSError) as error:
        raise UserError(f"{path}: cannot be decoded ({error.strerror})") from error
