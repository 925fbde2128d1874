"""The demo's data sets: clips of `scene` as H.264 files, with captions and with questions."""

import concurrent.futures
import contextlib
import functools
import itertools
import json
import multiprocessing
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from tokmerge_jax import disk, runtime, video_file
from tokmerge_jax.data.datasets import video_text
from tokmerge_jax.data.datasets.demo import questions, scene
from tokmerge_jax.data.datasets.demo.scene import Story
from tokmerge_jax.data.datasets.video_text import Action, AnyRecord, Clip, Question, Record
from tokmerge_jax.data.video.workers import end_with_parent
from tokmerge_jax.progress import tracked

COUNTS: Mapping[str, int] = {
    "train": 3000, "val": 200, "test": 200, "twins": 3000, "mixed": 6000
}  # fmt: skip
"""Number of clips per split; "twins" and "mixed" share stories with all splits but "test"."""

SEEDS: Mapping[str, int] = {"train": 1, "test": 2, "val": 3, "twins": 4, "mixed": 6}
"""The seed of each split's stories and pixels."""

_ASKED: Mapping[str, int] = {"train": 3, "twins": 3, "mixed": 3, "test": 1, "val": 1}
"""Number of questions of each kind per clip."""

_RATE = 8  # frames per second
_AT_ONCE = 8  # number of clips handed to a worker at a time


def prepare(folder: str, splits: Sequence[str], workers: int) -> None:
    """Draws the clips of `splits` into `folder` and stores both data sets; existing clips stay.

    "demo" holds captions, "demo_qa" questions of five kinds about the same clips.

    Args:
      folder: the folder of prepared data sets (`config.data.folder`).
      splits: keys of `COUNTS`.
      workers: number of processes that draw.
    """
    contents = {split: stories(split) for split in splits}
    with disk.held(pathlib.Path(folder), "demo.lock"):
        draw_clips(folder, "demo", contents, workers)
        for dataset, records in (("demo", _records), ("demo_qa", _questions)):
            store(folder, dataset, {split: records(split, contents[split]) for split in splits})
        answers = video_text.answers_path(folder, "demo_qa")
        runtime.write_text(answers, json.dumps(questions.ANSWERS, indent=0))


class Shown(NamedTuple):
    """What a clip of actions shows: its content, the action's number, and the number of frames."""

    content: Any  # first argument of `draw`
    action: int
    frames: int


def prepare_actions(
    folder: str,
    dataset: str,
    shown: Mapping[str, Sequence[Shown]],
    names: Sequence[str],
    workers: int,
    draw: Callable[[Any, tuple[int, int]], np.ndarray],  # Any: a content of its kind
) -> None:
    """Draws the clips of actions and stores their data set; existing clips stay.

    Args:
      folder: the folder of prepared data sets (`config.data.folder`).
      dataset: the data set.
      shown: split -> what each clip shows.
      names: the actions' names, by number.
      workers: number of processes that draw.
      draw: as in `draw_clips`.
    """
    contents = {split: [one.content for one in clips] for split, clips in shown.items()}
    records: dict[str, list[AnyRecord]] = {
        split: [
            Action((clip(dataset, split, number),), one.action, one.frames)
            for number, one in enumerate(clips)
        ]
        for split, clips in shown.items()
    }
    with disk.held(pathlib.Path(folder), f"{dataset}.lock"):
        draw_clips(folder, dataset, contents, workers, draw)
        store(folder, dataset, records)
        labels = video_text.labels_path(folder, dataset)
        runtime.write_text(labels, json.dumps(names, indent=0))


def draw_clips(
    folder: str,
    dataset: str,
    contents: Mapping[str, Sequence[Any]],  # first arguments of `draw`
    workers: int,
    draw: Callable[[Any, tuple[int, int]], np.ndarray] = scene.draw,  # Any: a story of its kind
) -> None:
    """Draws the clips of each split into the files that `clip` names; existing clips stay.

    Args:
      folder: the folder of prepared data sets.
      dataset: the data set of the clips.
      contents: split -> the content of each clip.
      workers: number of processes that draw.
      draw: a module-level function: (content, (seed of the split, number of the clip)) -> uint8
        [T,H,W,3].
    """
    root = pathlib.Path(folder)
    todo = [
        (draw, story, (SEEDS[split], number), path)
        for split, stories in contents.items()
        for number, story in enumerate(stories)
        if not (path := root / clip(dataset, split, number).path).exists()
    ]
    for split in contents:
        (root / clip(dataset, split, 0).path).parent.mkdir(parents=True, exist_ok=True)
    if todo:
        context = multiprocessing.get_context("spawn")
        with (
            _one_thread_each(),
            concurrent.futures.ProcessPoolExecutor(workers, context, end_with_parent) as pool,
        ):
            drawn = pool.map(_draw, todo, chunksize=_AT_ONCE)
            for _ in tracked(drawn, "drawing clips", len(todo), "clip"):
                pass


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Limits processes started inside to one matrix-product thread: they share the cores already.

    NumPy reads the variable once, on import, which is before a pool's initialiser runs.
    """
    name = "OPENBLAS_NUM_THREADS"
    if name in os.environ:
        yield
        return
    os.environ[name] = "1"
    try:
        yield
    finally:
        del os.environ[name]


def store(folder: str, dataset: str, made: Mapping[str, list[AnyRecord]]) -> None:
    """Stores splits of a data set; its other splits stay."""
    others = set(video_text.splits(folder, dataset)) - set(made)
    kept = {split: video_text.read(folder, dataset, split) for split in others}
    video_text.write(folder, dataset, {**kept, **made})


def clip(dataset: str, split: str, number: int) -> Clip:
    """A clip by its number: its name, and its path in the data sets' folder."""
    name = f"{split}/{number:05d}.mp4"
    return Clip(name, f"{dataset}_videos/{name}")


@functools.cache
def stories(split: str) -> tuple[Story, ...]:
    """The story of each clip of a split.

    In "twins" the four of `scene.twins` follow one another; in "mixed" four random ones and four
    twins do in turn.
    """
    test, seed = scene.test_stories(COUNTS["test"]), SEEDS[split]
    if split == "test":
        return tuple(test)
    held_out = frozenset([*test, *stories("train")] if split == "val" else test)
    if split in ("twins", "mixed"):
        draw = itertools.cycle([scene.twins] if split == "twins" else [_random, scene.twins])
        groups = (group((seed, i), held_out) for i, group in enumerate(draw))
        return tuple(itertools.islice(itertools.chain.from_iterable(groups), COUNTS[split]))
    return tuple(scene.train_story((seed, i), held_out) for i in range(COUNTS[split]))


def _random(seed: tuple[int, ...], held_out: frozenset[Story]) -> list[Story]:
    """Four random stories."""
    return [scene.train_story((*seed, i), held_out) for i in range(4)]


def write_clip(path: pathlib.Path, frames: UInt8[np.ndarray, "T H W 3"]) -> None:
    """Writes frames of even height and width as H.264 in MP4, atomically."""
    with disk.replaced(path) as part:  # worker processes share the cores already
        video_file.write(part, frames, _RATE, video_file.h264("veryfast"), threads=1)


def _draw(
    task: tuple[Callable, Any, tuple[int, int], pathlib.Path],  # Any: a story of its kind
) -> None:
    draw, story, seed, path = task
    write_clip(path, draw(story, seed))


def _records(split: str, contents: Sequence[Story]) -> list[AnyRecord]:
    return [
        Record((clip("demo", split, number),), (scene.caption(story),))
        for number, story in enumerate(contents)
    ]


def _questions(split: str, contents: Sequence[Story]) -> list[AnyRecord]:
    return [
        Question(
            (clip("demo", split, number),), f"{split}_{number:05d}_{kind}{i}", question, (answer,)
        )
        for number, story in enumerate(contents)
        for i in range(_ASKED[split])
        for kind, (question, answer) in questions.ask(
            story, np.random.default_rng([SEEDS[split], 1, number, i])
        ).items()
    ]
