"""The demo's data sets: clips of `demo_scene` as H.264 files, with captions and with questions."""

import concurrent.futures
import functools
import json
import multiprocessing
import pathlib
from collections.abc import Mapping, Sequence

import av
import numpy as np
import tqdm
from jaxtyping import UInt8

from tokmerge_jax.data.datasets import demo_questions, demo_scene, video_text
from tokmerge_jax.data.datasets.demo_scene import Story
from tokmerge_jax.data.datasets.video_text import AnyRecord, Clip, Question, Record
from tokmerge_jax.data.workers import end_with_parent

COUNTS: Mapping[str, int] = {"train": 3000, "val": 200, "test": 200}
"""Clips of each split. No story of one is told in another."""

_SEEDS: Mapping[str, int] = {"train": 1, "test": 2, "val": 3}
_ASKED: Mapping[str, int] = {"train": 3, "test": 1, "val": 1}  # questions of each kind a clip
_RATE = 8  # frames a second
_ENCODING = {"crf": "18", "preset": "veryfast"}
_AT_ONCE = 8  # clips handed to a worker at a time


def prepare(folder: str, splits: Sequence[str], workers: int) -> None:
    """Draws the clips of `splits` into `folder` and stores both data sets; clips there stay.

    "demo" holds captions, "demo_qa" questions of five kinds about each of the same clips.

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
    for dataset, records in (("demo", _records), ("demo_qa", _questions)):
        others = set(video_text.splits(folder, dataset)) - set(splits)
        kept = {split: video_text.read(folder, dataset, split) for split in others}
        made = {split: records(split, told[split]) for split in splits}
        video_text.write(folder, dataset, kept | made)
    answers = video_text.answers_path(folder, "demo_qa")
    answers.write_text(json.dumps(demo_questions.ANSWERS, indent=0), "utf-8")


@functools.cache
def stories(split: str) -> tuple[Story, ...]:
    """What happens in each clip of a split."""
    test = demo_scene.test_stories(COUNTS["test"])
    if split == "test":
        return tuple(test)
    held_out = frozenset(test) if split == "train" else frozenset([*test, *stories("train")])
    seed = _SEEDS[split]
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


def _clip(split: str, number: int) -> Clip:
    name = _name(split, number)
    return Clip(name, f"demo_videos/{name}")


def _records(split: str, told: Sequence[Story]) -> list[AnyRecord]:
    return [
        Record((_clip(split, number),), (demo_scene.caption(story),))
        for number, story in enumerate(told)
    ]


def _questions(split: str, told: Sequence[Story]) -> list[AnyRecord]:
    return [
        Question((_clip(split, number),), f"{split}_{number:05d}_{kind}{i}", question, (answer,))
        for number, story in enumerate(told)
        for i in range(_ASKED[split])
        for kind, (question, answer) in demo_questions.ask(
            story, np.random.default_rng([_SEEDS[split], 1, number, i])
        ).items()
    ]
