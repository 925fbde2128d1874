"""The demo's data set: clips of `demo_scene`, written as H.264 files and stored like any other."""

import concurrent.futures
import functools
import multiprocessing
import pathlib
from collections.abc import Mapping, Sequence

import av
import numpy as np
import tqdm
from jaxtyping import UInt8

from tokmerge_jax.data.datasets import demo_scene, video_text
from tokmerge_jax.data.datasets.demo_scene import Story
from tokmerge_jax.data.datasets.video_text import Clip, Record
from tokmerge_jax.data.workers import end_with_parent

COUNTS: Mapping[str, int] = {"train": 3000, "test": 200}
"""Clips of each split. No story of the test is told in training."""

_SEEDS: Mapping[str, int] = {"train": 1, "test": 2}
_RATE = 8  # frames a second
_ENCODING = {"crf": "18", "preset": "veryfast"}
_AT_ONCE = 8  # clips handed to a worker at a time


def prepare(folder: str, splits: Sequence[str], workers: int) -> None:
    """Draws the clips of `splits` into `folder` and stores the data set; clips there stay.

    Args:
      folder: where prepared data sets live (`config.data.folder`).
      splits: names of `COUNTS`.
      workers: processes that draw.
    """
    target = pathlib.Path(folder, "demo_videos")
    told = {split: stories(split) for split in splits}
    todo = [
        (story, (_SEEDS[split], number), target / _name(split, number))
        for split in splits
        for number, story in enumerate(told[split])
        if not (target / _name(split, number)).exists()
    ]
    for split in splits:
        (target / split).mkdir(parents=True, exist_ok=True)
    if todo:
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(workers, context, end_with_parent) as pool:
            drawn = pool.map(_draw, todo, chunksize=_AT_ONCE)
            for _ in tqdm.tqdm(drawn, "drawing clips", len(todo), unit="clip"):
                pass
    others = set(video_text.splits(folder, "demo")) - set(splits)
    kept = {split: video_text.read(folder, "demo", split) for split in others}
    video_text.write(folder, "demo", kept | {name: _records(name, told[name]) for name in splits})


@functools.cache
def stories(split: str) -> tuple[Story, ...]:
    """What happens in each clip of a split."""
    test = demo_scene.test_stories(COUNTS["test"])
    if split == "test":
        return tuple(test)
    held_out, seed = frozenset(test), _SEEDS[split]
    return tuple(demo_scene.train_story((seed, i), held_out) for i in range(COUNTS[split]))


def write_clip(path: pathlib.Path, frames: UInt8[np.ndarray, "T H W 3"]) -> None:
    """Writes frames of even height and width as H.264 in MP4, whole or not at all."""
    part = path.with_name(f"{path.stem}.part.mp4")
    with av.open(str(part), "w") as container:
        stream = container.add_stream("libx264", rate=_RATE, options=_ENCODING)
        assert isinstance(stream, av.VideoStream)
        stream.codec_context.thread_count = 1  # worker processes share the cores already
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    part.rename(path)


def _draw(task: tuple[Story, tuple[int, int], pathlib.Path]) -> None:
    story, seed, path = task
    write_clip(path, demo_scene.draw(story, seed))


def _name(split: str, number: int) -> str:
    return f"{split}/{number:05d}.mp4"


def _records(split: str, told: Sequence[Story]) -> list[Record]:
    names = [_name(split, number) for number in range(len(told))]
    return [
        Record((Clip(name, f"demo_videos/{name}"),), (demo_scene.caption(story),))
        for name, story in zip(names, told, strict=True)
    ]
