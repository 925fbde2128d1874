"""Decoding as the originals do it, by decord, for `benchmark_original.py`."""

import functools
import itertools
import multiprocessing
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from typing import Any

import decord
import numpy as np
import torch


def ready(processes: int) -> Callable[..., torch.Tensor]:
    """What decodes in this process, or in so many, which have started; with one thread in each.

    It takes `paths`, the wanted `frames` of each and `size`, and gives their mean values.
    """
    starmap = itertools.starmap
    if processes > 1:
        starmap = functools.partial(_pool(processes).starmap, chunksize=1)

    def decode(paths: list[str], frames: list[list[int]], size: int) -> torch.Tensor:
        videos = zip(paths, frames, itertools.repeat(size, len(paths)), strict=True)
        return torch.tensor(list(starmap(_mean, videos)))

    return decode


@functools.cache
def _pool(processes: int) -> Any:
    """Kept for all rounds. They are spawned: a process with threads is not to be copied."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes + 1)
    pool = context.Pool(processes, _arrive, (barrier,))
    _arrive(barrier)
    return pool


def _arrive(barrier: Barrier) -> None:
    """Waits until all have imported decord."""
    barrier.wait()


def _mean(path: str, wanted: list[int], size: int) -> float:
    """Mean value of the wanted frames of a video, scaled to `size` x `size` while decoded."""
    reader = decord.VideoReader(path, width=size, height=size, num_threads=1)
    return float(reader.get_batch(wanted).asnumpy().mean(dtype=np.float64))
