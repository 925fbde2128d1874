"""Numbers the frames of a stream by its packets, and detects where packets cannot be trusted.

A container states when each packet is shown, without decoding it, but not every packet is a frame:
some are hidden, damaged, empty, half a frame, or depend on packets that were cut off.
"""

import dataclasses
import itertools
from array import array
from bisect import bisect_left
from collections.abc import Sequence

import av
import numpy as np

HEAD = 2
"""Number of frames that are decoded to test whether packets are frames."""

_UNCODED = 16  # bytes; a smaller MPEG-4 packet may only state that there is no picture
_HOLE = bytes(32)  # no lossy codec writes this many zeros, except these, to keep a constant rate:
_FILLED = ("mpeg1video", "mpeg2video")
_TICKS = "q"  # 8 bytes for a time, where an int would take 40: long videos have millions


class MistrustError(Exception):
    """Packets are not frames; only decoding can count the frames."""


@dataclasses.dataclass(frozen=True)
class FrameIndex:
    """The frames of a stream.

    Attributes:
      count: number of frames.
      times: when each is shown, in ticks, ascending; empty if frames must be counted from the
        start.
      keyframes: when keyframes are shown, in ticks, ascending.
    """

    count: int
    times: Sequence[int] = ()
    keyframes: tuple[int, ...] = ()


def _numbers() -> array:
    """An empty array of times."""
    return array(_TICKS)


@dataclasses.dataclass
class Packets:
    """The facts about a stream's packets, collected in their order.

    Attributes:
      codec: FFmpeg's name of the codec.
      times: presentation times (ticks) of the packets whose frames are shown, where stated.
      untimed: number of such packets without a time.
      turns: decoding times (ticks), where packets state them.
      keyframes: presentation times of keyframes, discarded ones too.
      begin_whole: whether the first packet is a keyframe, so that nothing it needs was cut off;
        None before the first packet.
      are_doubtful: whether any packet is damaged or may hold no frame.
    """

    codec: str
    times: array = dataclasses.field(default_factory=_numbers)
    untimed: int = 0
    turns: array = dataclasses.field(default_factory=_numbers)
    keyframes: list[int] = dataclasses.field(default_factory=list)
    begin_whole: bool | None = None
    are_doubtful: bool = False

    def add(self, packet: av.Packet) -> None:
        """Adds the next packet."""
        if self.begin_whole is None:
            self.begin_whole = packet.is_keyframe
        if packet.dts is not None:
            self.turns.append(packet.dts)
        is_tiny = self.codec == "mpeg4" and packet.size <= _UNCODED
        content = bytes(packet)  # zeros where a part of it is missing on disk
        has_hole = self.codec not in _FILLED and (_HOLE in content or not content.strip(b"\0"))
        self.are_doubtful |= packet.is_corrupt or is_tiny or has_hole
        if _is_hidden(packet, self.codec):
            return
        if packet.is_keyframe and packet.pts is not None:
            self.keyframes.append(packet.pts)
        if packet.is_discard:  # as edit lists ask for
            return
        if packet.pts is None:
            self.untimed += 1
        else:
            self.times.append(packet.pts)

    @property
    def shown(self) -> int:
        """The number of packets whose frames are shown."""
        return len(self.times) + self.untimed

    def index(self, head: Sequence[av.VideoFrame], count: int, is_reordered: bool) -> FrameIndex:
        """Builds the index of the frames.

        Args:
          head: all frames of the first packets, at least `HEAD` if the stream has that many.
          count: number of these packets whose frames are shown.
          is_reordered: whether the codec may decode frames in another order than it shows them.

        Raises:
          MistrustError: if the packets or the first frames show that the index would be wrong.
        """
        shown = array(_TICKS, np.unique(self.times).tobytes())
        if self.are_doubtful or len(shown) < self.shown:
            raise MistrustError
        if not head or head[0].pts is None or not (self.begin_whole or head[0].key_frame):
            raise MistrustError
        # AVI states the decoding order as if it were the presentation order.
        if is_reordered and self.begin_whole and self.times == shown:
            if len(head) < count:  # frames need a part that was cut off, without a gap in the times
                raise MistrustError
            return FrameIndex(len(shown))
        if any(later <= turn for turn, later in itertools.pairwise(self.turns)):
            raise MistrustError  # times were guessed, or packets are missing
        first = bisect_left(shown, head[0].pts)  # earlier frames need a part that was cut off
        if [frame.pts for frame in head[:HEAD]] != shown[first : first + HEAD].tolist():
            raise MistrustError
        keyframes = sorted(self.keyframes) or shown[:1]
        return FrameIndex(len(shown) - first, shown[first:], tuple(keyframes))


def _is_hidden(packet: av.Packet, codec: str) -> bool:
    """Whether a packet's frame is only a reference and is not shown.

    Source: RFC 6386, section 9.1; VP9 bitstream specification, section 6.2: bits of the first byte.
    """
    if codec == "vp8":
        return not memoryview(packet)[0] & 0x10
    if codec != "vp9":
        return False
    first, last = memoryview(packet)[0], memoryview(packet)[-1]
    is_superframe = last & 0xE0 == 0xC0  # its last frame is shown
    shows = first >> (0 if first >> 4 & 3 == 3 else 1)  # profile 3 has one more bit
    return not is_superframe and not shows & 0b101
