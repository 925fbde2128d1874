"""What `benchmark.py` times of decoding: the project's decoder, sampling and resizing.

Videos of 10 s are drawn for it: discs that move over a textured ground, in H.264 as x264 writes it
unless told otherwise, with a keyframe every 250 frames as in MSR-VTT's. Decord reads the same
frames, scaled while they are decoded.
"""

import atexit
import dataclasses
import os
import pathlib
import shutil
import tempfile
import time
from typing import Any

import av
import numpy as np
from benchmark_cases import Case, Timed

from tokmerge_jax.data import Source
from tokmerge_jax.data.clips import Decoder, decoder
from tokmerge_jax.data.video import open_video
from tokmerge_jax.types import Gallery, Params, System

_VIDEOS = 16
_SECONDS, _RATE, _HEIGHT, _WIDTH = 10, 30, 240, 320
_DISCS, _RADIUS = 6, 25


def decode(system: System, params: Params, inputs: dict[str, np.ndarray]) -> list[Case]:
    """Drawn videos, by this process, and by as many worker processes as there are cores."""
    del params, inputs
    folder, cores = pathlib.Path(tempfile.mkdtemp()), os.cpu_count() or 1
    atexit.register(shutil.rmtree, folder)  # they are read until the end
    paths = [draw(folder / f"{i}.mp4", seed=i) for i in range(_VIDEOS)]
    read = decoder(system.config.data, system.constants["frames"], str(folder))
    stage = f"decode {_VIDEOS} videos, {_WIDTH}x{_HEIGHT}"
    requests = {
        f"decord, {threads} thread{'s' * (threads > 1)}": {
            "stage": "decode",
            "paths": [str(path) for path in paths],
            "frames": [_wanted(read, path) for path in paths],
            "size": system.constants["image_size"],
            "threads": threads,
        }
        for threads in sorted({1, cores})
    }
    ways = {"ours, this process": 0, f"ours, {cores} processes": cores}
    return [
        Case(
            stage,
            way,
            _Decoding(system, read, tuple(path.name for path in paths), workers),
            clips=_VIDEOS,
            requests={} if workers else requests,
        )
        for way, workers in ways.items()
    ]


@dataclasses.dataclass(frozen=True)
class _Decoding:
    """Decodes the videos, over and over where there are many workers.

    What is timed begins when each worker has had the time for a first video: starting them takes
    seconds, once for a whole evaluation.
    """

    system: System
    read: Decoder
    paths: tuple[str, ...]
    workers: int

    def __call__(self) -> Timed:
        """Seconds of the videos once; mean values of each."""
        count = self.workers + max(len(self.paths), 4 * self.workers)
        paths = tuple(np.resize(self.paths, count).tolist())
        source = Source(Gallery(paths, (), ()), (), paths, self.read, self.workers)
        marks, seen = [time.perf_counter()], []
        for batch in source.batches(self.system.transform, batch_size=1):
            marks.append(time.perf_counter())
            if len(seen) < len(self.paths):
                seen.append(batch["video"])
        seconds = (marks[-1] - marks[self.workers]) / (count - self.workers)
        means = [np.mean(video, dtype=np.float64) for video in seen]
        return Timed(len(self.paths) * seconds, np.array(means, np.float32))


def _wanted(read: Decoder, path: pathlib.Path) -> list[int]:
    """The numbers of the frames that are read of a video."""
    with open_video(path) as video:
        chosen: Any = read.choose(video.length, video.rate, read.frames, read.seconds, None)
        return chosen.tolist()


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
