"""The jobs that `scale.py` measures, each in a process of its own.

A job is done twice with the least work before it is measured: the first time compiles, the second
one says what takes its time whatever the work. (Training and networks are measured once they run.)
"""

import contextlib
import dataclasses
import itertools
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import scale_data, scale_memory
from benchmarks.scale_axes import Point
from benchmarks.scale_memory import measured
from tokmerge_jax import registry, runtime
from tokmerge_jax.checkpoints import load_checkpoint
from tokmerge_jax.config import Config, files
from tokmerge_jax.evaluation import metrics
from tokmerge_jax.evaluation.candidates import Pairs
from tokmerge_jax.evaluation.scores import Similarity
from tokmerge_jax.own_videos.search import index_videos
from tokmerge_jax.system import System
from tokmerge_jax.tasks import evaluation
from tokmerge_jax.tasks.synthetic import (
    clip_macs,
    encoder,
    fitting,
    frames_shape,
    random_weights,
    unmerged,
)
from tokmerge_jax.training.loop import fit, training_of
from tokmerge_jax.training.plan import Plan
from tokmerge_jax.training.run import RunFolder, identity
from tokmerge_jax.types import Batch

_PLAN = {"steps": 100, "steps_per_epoch": 100, "warmup_steps": 0}  # one program for all points

Figures = dict[str, Any]  # what `measured` says, and "least", "gmac", "parts" where there are any

_CANDIDATES, _WIDTH = 128, 512  # of the pairs, as in MSRVTT's configurations
_ROUNDS, _LONGEST = 3, 6.0  # timed runs of an encoding; fewer, if they take more seconds than this


class Setting(NamedTuple):
    """Where and with what a job works.

    Attributes:
      folder: the folder of the drawn videos (`scale_data`), and of what jobs write.
      config: the configuration of the work that `--config` applies to.
    """

    folder: pathlib.Path
    config: Config


def run(point: Point, setting: Setting) -> Figures:
    """Does a point's work and measures it."""
    return {**_JOBS[point.axis](setting, point.work), "load": round(os.getloadavg()[0], 2)}


def _demo(folder: pathlib.Path, **changes: object) -> Config:
    """The demo's configuration, on the drawn videos, which this process decodes itself."""
    config = files.read("demo")[0].resolved()
    return config.override({"data.folder": str(folder), "data.workers": 0, **changes})


def _beyond(
    job: Callable[[int, pathlib.Path], object], folder: pathlib.Path, least: int, work: int
) -> Figures:
    """Measures `job(work, empty folder)`, after `least` work has compiled it and been timed."""

    def done(amount: int) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            job(amount, pathlib.Path(place))

    done(least)
    begun = time.perf_counter()
    done(least)
    first = {"work": least, "seconds": time.perf_counter() - begun}
    return {**measured(lambda: done(work)), "least": first}


def _evaluate(setting: Setting, work: int) -> Figures:
    """Evaluates a gallery of `work` videos and texts; `parts` are the seconds of its stages."""
    least = scale_data.LEAST
    system = registry.build(_demo(setting.folder, **{"data.split": scale_data.split(least)}))
    _, params = evaluation.inputs(system)
    parts: dict[str, float] = {}

    def job(count: int, place: pathlib.Path) -> None:
        split = scale_data.split(count)
        source = evaluation.open_source(system, split)
        results = evaluation.evaluate("scale", system, params, source, place, split=split)
        parts.update(results["seconds"])

    return {**_beyond(job, setting.folder, least, work), "parts": parts}


def _index(setting: Setting, work: int) -> Figures:
    def job(count: int, place: pathlib.Path) -> None:
        index_videos(_demo(setting.folder), scale_data.clips(setting.folder, count), place / "made")

    return _beyond(job, setting.folder, scale_data.LEAST, work)


def _index_long(setting: Setting, work: int) -> Figures:
    """Indexes one video, shot by shot, so that all its frames are read twice."""

    def job(minutes: int, place: pathlib.Path) -> None:
        videos = scale_data.long(setting.folder, minutes)
        index_videos(_demo(setting.folder), videos, place / "made", shots=True)

    return _beyond(job, setting.folder, scale_data.SHORTEST, work)


class _MeasuredError(Exception):
    """Ends a training of which an epoch is measured."""


def _train(setting: Setting, work: int) -> Figures:
    """Trains an epoch of `work` clips in steps of `scale_data.STEP`, after two steps."""
    changes = {"train.split": scale_data.split(work), "train.batch_size": scale_data.STEP}
    system = registry.build(_demo(setting.folder, **changes))
    source, figures = evaluation.open_training(system), Figures()
    plan = dataclasses.replace(Plan.of(system.config, len(source)), **_PLAN)
    params = load_checkpoint(system.config.checkpoint, system, to_train=True)
    scale_memory.give_back()
    held, steps = scale_memory.own(), work // scale_data.STEP

    def batches(step: int, own: Sequence[int]) -> Iterator[Batch]:
        made = source.batches(
            system.pixels.augment,
            training_of(system).collate,
            plan.batch_size,
            plan.seed,
            step,
            own,
        )
        yield from itertools.islice(made, 2)
        watch = scale_memory.Watch(held)
        yield from itertools.islice(made, steps)
        figures.update(watch.end())
        raise _MeasuredError

    with (
        tempfile.TemporaryDirectory(dir=setting.folder) as place,
        contextlib.suppress(_MeasuredError),
    ):
        run = RunFolder(pathlib.Path(place), identity(system.config, work), keep=1)
        fit(system, batches, plan, run, initial=lambda: params)
    return figures


def _pairs(setting: Setting, work: int) -> Figures:
    """Selects candidates and ranks in both directions, by the products of random embeddings."""
    del setting

    def job() -> None:
        rng = np.random.default_rng(0)
        scores = Similarity(*(rng.standard_normal((work, _WIDTH), np.float32) for _ in range(2)))
        Pairs(scores, _CANDIDATES)
        metrics.both_directions(scores.T, scores, [[row] for row in range(work)])

    return {**measured(job)}


def _frames(setting: Setting, work: int) -> Figures:
    return _encode(unmerged(setting.config.override({"model.vision.frames": work})), 1)


def _frames_merging(setting: Setting, work: int) -> Figures:
    return _encode(registry.build(setting.config.override({"model.vision.frames": work})), 1)


def _pixels(setting: Setting, work: int) -> Figures:
    """Encodes a clip with frames of about the edge `work`: whole patches."""
    patch = setting.config.model.vision.patch_size
    edge = {"model.vision.image_size": round(work / patch) * patch}
    return _encode(unmerged(setting.config.override(edge)), 1)


def _batch(setting: Setting, work: int) -> Figures:
    return _encode(unmerged(setting.config), work)


def _encode(system: System, clips: int) -> Figures:
    """Encodes noise with random weights: memory of the first run, median seconds of the others."""
    shape = (clips, *frames_shape(system))
    video = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    params = fitting(random_weights(system), system)
    program = runtime.jit(encoder(system)).lower(params, video).compile()

    def encode() -> None:
        jax.block_until_ready(program(params, video))

    figures, seconds = measured(encode), list[float]()
    while len(seconds) < _ROUNDS and (sum(seconds) < _LONGEST):
        begun = time.perf_counter()
        encode()
        seconds.append(time.perf_counter() - begun)
    gmac = clips * clip_macs(system) / 1e9
    return {**figures, "seconds": statistics.median(seconds), "rounds": seconds, "gmac": gmac}


_JOBS: Mapping[str, Callable[[Setting, int], Figures]] = {
    "videos": _evaluate,
    "pairs": _pairs,
    "index": _index,
    "length": _index_long,
    "train": _train,
    "batch": _batch,
    "frames": _frames,
    "merging": _frames_merging,
    "pixels": _pixels,
}
