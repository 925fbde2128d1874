"""The decoding stage of `stages.py`: the project's decoder, sampling and resizing.

Videos of 10 s are drawn for it: discs that move over a textured ground, in H.264 by x264 with its
default settings and a keyframe every 250 frames, as MSR-VTT's have. decord reads the same frames in
the same number of single-threaded processes. It scales them while it decodes where
`config.data.decode_size` asks for that; otherwise PyTorch resizes them. decord's frames stay in
their processes; ours are sent to this one.
"""

import atexit
import dataclasses
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Sequence

import av
import numpy as np

from benchmarks.cases import Case, Inputs, Sizes, Timed
from tokmerge_jax.data import Source
from tokmerge_jax.data.sampling.frames import Span
from tokmerge_jax.data.video.clips import Decoder, decoder
from tokmerge_jax.data.video.decode import open_video
from tokmerge_jax.system import System
from tokmerge_jax.types import Gallery, Params

_VIDEOS = 16
_AHEAD, _TIMED = 6, 16  # videos for each worker: before the clock starts, and timed
_SECONDS, _RATE, _HEIGHT, _WIDTH = 10, 30, 240, 320
_DISCS, _RADIUS = 6, 25


def decode(system: System, params: Params, inputs: Inputs, sizes: Sizes) -> list[Case]:
    """Decodes drawn videos in this process, and in one worker process for each core."""
    del params, inputs, sizes
    folder = pathlib.Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)  # they are read until the end
    paths = [draw(folder / f"{i}.mp4", seed=i) for i in range(_VIDEOS)]
    read = decoder(system.config.data, system.pixels.frames, str(folder))
    return [_case(system, read, paths, processes) for processes in sorted({1, os.cpu_count() or 1})]


def _case(system: System, read: Decoder, paths: Sequence[pathlib.Path], processes: int) -> Case:
    """The case of decoding with `processes` processes; many of them repeat the videos."""
    workers = processes if processes > 1 else 0
    count = max(_VIDEOS, _TIMED * workers)
    wanted = [_wanted(read, path) for path in paths]
    request = {
        "stage": "decode",
        "paths": np.resize([str(path) for path in paths], count).tolist(),
        "frames": [wanted[i % _VIDEOS] for i in range(count)],
        "scaled": read.size,
        "size": system.pixels.image_size,
        "processes": processes,
    }
    return Case(
        f"decode {_VIDEOS} videos, {_WIDTH}x{_HEIGHT}, {processes} process{'es' * (processes > 1)}",
        "ours",
        _Decoding(system, read, tuple(path.name for path in paths), workers, count),
        runs=_VIDEOS / count,
        clips=_VIDEOS,
        requests={"decord": request},
    )


@dataclasses.dataclass(frozen=True)
class _Decoding:
    """Decodes `count` videos, repeating `paths`.

    The clock starts after a first part: workers take seconds to start, once for a whole evaluation,
    and those that start first fill their queues while they wait for the others.
    """

    system: System
    read: Decoder
    paths: tuple[str, ...]
    workers: int
    count: int

    def __call__(self) -> Timed:
        """Seconds for the videos, and the mean value of each."""
        first = _AHEAD * self.workers
        paths = tuple(np.resize(self.paths, first + self.count).tolist())
        source = Source(Gallery(paths, (), ()), (), paths, self.read, self.workers)
        marks, seen = [time.perf_counter()], []
        for batch in source.batches(self.system.pixels.transform, batch_size=1):
            marks.append(time.perf_counter())
            if len(seen) < len(self.paths):
                seen.append(batch["video"])
        means = [np.mean(video, dtype=np.float64) for video in seen]
        return Timed(marks[-1] - marks[first], np.array(means, np.float32))


def _wanted(read: Decoder, path: pathlib.Path) -> list[int]:
    """The indices of the frames that are read from a video."""
    with open_video(path) as video:
        span = Span(video.length, video.rate, read.seconds)
        return read.choose(span, read.frames, None).tolist()


def draw(path: pathlib.Path, seed: int) -> pathlib.Path:
    """Writes a video: discs that move and bounce over a ground that drifts and brightens."""
    rng = np.random.default_rng(seed)
    count, size = _SECONDS * _RATE, np.array([_HEIGHT, _WIDTH])
    y, x = np.mgrid[:_HEIGHT, :_WIDTH]
    waves = [np.sin(x / rng.uniform(4, 20) + y / rng.uniform(4, 20)) for _ in range(3)]
    noise = rng.normal(0, 6, (_HEIGHT, _WIDTH, 3))
    ground = np.clip(90 + 40 * np.stack(waves, -1) + noise, 20, 200).astype(np.uint8)
    start, speed = rng.uniform(0, 1, (_DISCS, 2)) * size, rng.normal(0, 3, (_DISCS, 2))
    colour = rng.integers(0, 256, (_DISCS, 3), np.uint8)
    disc = np.hypot(*np.mgrid[-_RADIUS : _RADIUS + 1, -_RADIUS : _RADIUS + 1]) <= _RADIUS
    room = size - len(disc)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=_RATE)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = _HEIGHT, _WIDTH, "yuv420p"
        stream.gop_size = 250
        for i in range(count):
            pixels = np.roll(ground, (i // 2, i), (0, 1)) + np.uint8(50 * i / count)
            corners = room - np.abs((start + i * speed) % (2 * room) - room)
            for (top, left), paint in zip(corners.astype(int), colour, strict=True):
                pixels[top : top + len(disc), left : left + len(disc)][disc] = paint
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path
