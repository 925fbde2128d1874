"""The videos that `scale.py` works on: clips of the demo, and one that is repeated to hours."""

import os
import pathlib
from collections.abc import Collection

import av

from benchmarks import decoding
from benchmarks.scale_axes import Point
from tokmerge_jax import disk
from tokmerge_jax.data.datasets import demo
from tokmerge_jax.data.datasets.demo import scene
from tokmerge_jax.data.datasets.video_text import Record

LEAST = 25
"""Clips of the least work: a batch of the demo's evaluation."""

STEP = 50
"""Clips of a step of training."""

SHORTEST = 1
"""Minutes of the shortest video."""

_SPLIT = "train"  # the demo's stories that are drawn
_CLIPS = ("videos", "index", "train")  # axes that read clips


def split(count: int) -> str:
    """The name of the split of the first `count` clips."""
    return f"first_{count}"


def clips(folder: pathlib.Path, count: int) -> pathlib.Path:
    """The folder with the first `count` clips."""
    return folder / f"clips_{count}"


def long(folder: pathlib.Path, minutes: int) -> pathlib.Path:
    """The folder with one video of a number of minutes."""
    return folder / f"long_{minutes}"


def prepare(folder: pathlib.Path, points: Collection[Point]) -> None:
    """Draws the videos that the points work on; what is there stays."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = {point.work for point in points if point.axis in _CLIPS}
    if counts:
        _draw_clips(folder, sorted({LEAST, STEP, *counts}))
    minutes = {point.work for point in points if point.axis == "length"}
    if minutes:
        _draw_long(folder, {SHORTEST, *minutes})


def _draw_clips(folder: pathlib.Path, counts: list[int]) -> None:
    stories = demo.stories(_SPLIT)[: counts[-1]]
    demo.draw_clips(str(folder), "demo", {_SPLIT: stories}, os.cpu_count() or 1)
    drawn = [demo.clip("demo", _SPLIT, number) for number in range(len(stories))]
    records = [
        Record((clip,), (scene.caption(story),)) for clip, story in zip(drawn, stories, strict=True)
    ]
    demo.store(str(folder), "demo", {split(count): [*records[:count]] for count in counts})
    for count in counts:
        place = clips(folder, count)
        place.mkdir(exist_ok=True)
        for clip in drawn[:count]:
            file = place / pathlib.PurePath(clip.path).name
            if not file.exists():
                os.link(folder / clip.path, file)


def _draw_long(folder: pathlib.Path, minutes: Collection[int]) -> None:
    targets = {length: long(folder, length) / "long.mp4" for length in minutes}
    missing = {length: target for length, target in targets.items() if not target.exists()}
    drawn = decoding.draw(folder / "drawn.mp4", seed=0) if missing else folder
    for length, target in missing.items():
        _repeat(drawn, target, 60 * length)


def _repeat(drawn: pathlib.Path, target: pathlib.Path, seconds: int) -> None:
    """Writes a video again and again into a file, without encoding it again."""
    target.parent.mkdir(exist_ok=True)
    with disk.replaced(target) as part, av.open(str(part), "w", format="mp4") as written:
        stream, length = None, 0
        while stream is None or length * _tick(stream) < seconds:
            with av.open(str(drawn)) as source:
                template = source.streams.video[0]
                stream = stream or written.add_stream_from_template(template)
                for packet in source.demux(template):
                    if packet.pts is not None and packet.dts is not None:
                        packet.pts, packet.dts = packet.pts + length, packet.dts + length
                        packet.stream = stream
                        written.mux(packet)
                length += template.duration or 0


def _tick(stream: av.VideoStream) -> float:
    """Seconds of a tick of the stream's clock."""
    assert stream.time_base
    return float(stream.time_base)
