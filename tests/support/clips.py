"""Small videos written for tests, every frame told apart by its pixels."""

import contextlib
import pathlib
from collections.abc import Callable, Sequence
from fractions import Fraction

import av
import numpy as np
from av.error import InvalidDataError


def draw(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 [count,height,width,3]: a smooth texture that drifts, brightness rising by frame."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    phase = rng.uniform(0, 6, (3,))
    waves = [np.sin(x / 7 + y / 11 + t / 3 + p) for t in range(count) for p in phase]
    waves = np.stack(waves).reshape(count, 3, height, width).transpose(0, 2, 3, 1)
    light = np.linspace(30, 180, count)[:, None, None, None]
    return (light + 30 * (waves + 1)).astype(np.uint8)


def write(
    path: pathlib.Path,
    frames: np.ndarray,
    *,
    codec: str = "libx264",
    ticks: Sequence[int] | None = None,
    rate: int = 25,
    gop: int = 12,
    b_frames: int = 2,
    options: dict[str, str] | None = None,
    title: str = "",
) -> pathlib.Path:
    """Writes `frames`; `ticks` are their times in 1/1000 s (None: even, `rate` a second)."""
    with av.open(str(path), "w") as container:
        container.metadata["title"] = title
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = frames.shape[1:3]
        odd = any(extent % 2 for extent in frames.shape[1:3])
        stream.pix_fmt = "yuv444p" if odd and codec == "libx264" else "yuv420p"
        stream.gop_size = gop
        stream.codec_context.max_b_frames = b_frames
        stream.options = {"crf": "18", "preset": "veryfast", **(options or {})}
        base = Fraction(1, 1000 if ticks is not None else rate)
        stream.codec_context.time_base = base
        for i, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = (i if ticks is None else ticks[i]), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def decode_all(path: pathlib.Path) -> np.ndarray:
    """Every frame that a file shows, from start to end past damage, as large as the first."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1  # what hides damage depends on it
        packets: list[av.Packet | None] = [p for p in container.demux(stream) if p.size]
        frames: list[av.VideoFrame] = []
        for packet in [*packets, None]:
            with contextlib.suppress(InvalidDataError):
                frames += stream.decode(packet)
    width, height = frames[0].width, frames[0].height
    return np.stack([f.to_ndarray(format="rgb24", width=width, height=height) for f in frames])


def change_packets(
    source: pathlib.Path,
    target: pathlib.Path,
    change: Callable[[int, bytes], bytes] = lambda _, content: content,
    earlier: Fraction = Fraction(0),
    place: Callable[[int], int] | None = None,
) -> pathlib.Path:
    """Copies a video; the bytes of packet i become `change(i, bytes)`, b"" leaves it out; all are
    shown some seconds `earlier`, so that MP4 hides those before 0 by an edit list; or packet i is
    said to be shown as number `place(i)`, wrong or not.
    """
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        template = old.streams.video[0]
        stream = new.add_stream_from_template(template)
        for i, packet in enumerate(packet for packet in old.demux(template) if packet.size):
            if content := change(i, bytes(packet)):
                copy, shift = av.Packet(content), int(earlier / packet.time_base)
                copy.pts, copy.dts = (packet.pts or 0) - shift, (packet.dts or 0) - shift
                if place is not None and packet.duration:
                    copy.pts, copy.dts = place(i) * packet.duration, (i - 1) * packet.duration
                copy.time_base = packet.time_base
                copy.is_keyframe, copy.stream = packet.is_keyframe, stream
                new.mux(copy)
    return target


def write_sound(path: pathlib.Path) -> pathlib.Path:
    """Writes a file that holds a second of silence and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 16000), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 16000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return path


def rotate(source: pathlib.Path, target: pathlib.Path, degrees: int) -> pathlib.Path:
    """Copies a video with a note that it be shown turned counter-clockwise."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        template = old.streams.video[0]
        stream = new.add_stream_from_template(template)
        stream.set_display_rotation(degrees)
        for packet in old.demux(template):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    return target
