"""What the packets of a stream say of its frames, and whether to trust it.

A container says when each packet is shown, without decoding it, but not every packet is a frame:
some are hidden, damaged, empty, half a frame, or need others that were cut off.
"""

import dataclasses
import itertools
from bisect import bisect_left
from collections.abc import Sequence

import av

HEAD = 2
"""Number of frames that are decoded to see whether packets are frames."""

_UNCODED = 16  # bytes; an MPEG-4 packet that small may be a note that there is no picture
_HOLE = bytes(32)  # no lossy codec writes such a run of zeros, but to keep a constant rate, these:
_FILLED = ("mpeg1video", "mpeg2video")


class MistrustError(Exception):
    """Packets are not frames; only decoding tells how many there are."""


@dataclasses.dataclass(frozen=True)
class Index:
    """When the frames of a stream are shown (ticks, ascending) and which are keyframes.

    `times` is empty if the frames are to be counted from the start; `count` is known all the same.
    """

    count: int
    times: tuple[int, ...] = ()
    keyframes: tuple[int, ...] = ()


@dataclasses.dataclass
class Packets:
    """Notes of a stream's packets, taken in their order.

    Attributes:
      codec: FFmpeg's name of it.
      times: when those are shown that hold frames that are shown.
      turns: when packets are to be decoded, where they say so.
      keyframes: when keyframes are shown, those too that are discarded.
      begin_whole: whether the first is a keyframe, needing none that was cut off; None before.
      are_doubtful: whether one is damaged, or may hold no frame.
    """

    codec: str
    times: list[int | None] = dataclasses.field(default_factory=list)
    turns: list[int] = dataclasses.field(default_factory=list)
    keyframes: list[int] = dataclasses.field(default_factory=list)
    begin_whole: bool | None = None
    are_doubtful: bool = False

    def add(self, packet: av.Packet) -> None:
        """Notes the next packet."""
        if self.begin_whole is None:
            self.begin_whole = packet.is_keyframe
        if packet.dts is not None:
            self.turns.append(packet.dts)
        is_tiny = self.codec == "mpeg4" and packet.size <= _UNCODED
        self.are_doubtful |= packet.is_corrupt or is_tiny or _has_hole(packet, self.codec)
        if _is_hidden(packet, self.codec):
            return
        if packet.is_keyframe and packet.pts is not None:
            self.keyframes.append(packet.pts)
        if not packet.is_discard:  # as edit lists ask for
            self.times.append(packet.pts)

    def index(self, head: Sequence[av.VideoFrame], count: int, is_reordered: bool) -> Index:
        """Of the frames.

        Args:
          head: all frames of the first packets, `HEAD` at least if there are as many.
          count: number of these packets, less those that hold no frame that is shown.
          is_reordered: whether the codec's order of decoding may be another than that of showing.

        Raises:
          MistrustError: if the packets, or the first frames, show that it would be wrong.
        """
        shown = sorted({time for time in self.times if time is not None})
        if self.are_doubtful or len(shown) < len(self.times):
            raise MistrustError
        if not head or head[0].pts is None or not (self.begin_whole or head[0].key_frame):
            raise MistrustError
        # AVI repeats the order of decoding as if it were that of showing.
        if is_reordered and self.begin_whole and self.times == shown:
            if len(head) < count:  # what was cut off is missed without a gap in the times
                raise MistrustError
            return Index(len(shown))
        if any(later <= turn for turn, later in itertools.pairwise(self.turns)):
            raise MistrustError  # times were guessed, or packets left out
        first = bisect_left(shown, head[0].pts)  # frames before need what was cut off
        if [frame.pts for frame in head[:HEAD]] != shown[first : first + HEAD]:
            raise MistrustError
        keyframes = sorted(self.keyframes) or shown[:1]
        return Index(len(shown) - first, tuple(shown[first:]), tuple(keyframes))


def _has_hole(packet: av.Packet, codec: str) -> bool:
    """Whether a part of a packet never reached the disk, or was lost from it: zeros are read."""
    content = bytes(packet)
    return codec not in _FILLED and (_HOLE in content or not content.strip(b"\0"))


def _is_hidden(packet: av.Packet, codec: str) -> bool:
    """Whether a packet says that its frame is not shown, but for others to refer to (RFC 6386,
    section 9.1; VP9 bitstream specification, section 6.2: bits of the first byte).
    """
    if codec == "vp8":
        return not memoryview(packet)[0] & 0x10
    if codec != "vp9":
        return False
    first, last = memoryview(packet)[0], memoryview(packet)[-1]
    is_superframe = last & 0xE0 == 0xC0  # its last frame is shown
    shows = first >> (0 if first >> 4 & 3 == 3 else 1)  # profile 3 has a bit more
    return not is_superframe and not shows & 0b101
