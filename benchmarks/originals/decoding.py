"""Decoding as the originals do it, by decord, for `driver.py`."""

import functools
import itertools
import multiprocessing
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from typing import Any

import decord
import torch
from torch.nn.functional import interpolate


def ready(processes: int) -> Callable[..., torch.Tensor]:
    """Starts `processes` single-threaded processes and returns a function that decodes with them.

    It takes `paths`, the wanted `frames` of each, the edge that frames are `scaled` to while they
    are decoded (0 = not) and the `size` that they are resized to. It gives their mean values.
    """
    pool = _pool(processes)

    def decode(paths: list[str], frames: list[list[int]], scaled: int, size: int) -> torch.Tensor:
        edges = itertools.repeat((scaled, size), len(paths))
        return torch.tensor(pool.starmap(_mean, zip(paths, frames, edges, strict=True), 1))

    return decode


@functools.cache
def _pool(processes: int) -> Any:
    """Kept for all rounds. They are spawned: a process with threads is not to be copied."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes + 1)
    pool = context.Pool(processes, _arrive, (barrier,))
    barrier.wait()
    return pool


def _arrive(barrier: Barrier) -> None:
    """Waits until all have imported decord."""
    torch.set_num_threads(1)
    barrier.wait()


def _mean(path: str, wanted: list[int], edges: tuple[int, int]) -> float:
    """Mean value of the wanted frames of a video, resized as vid-TLDR's are (bicubic)."""
    scaled, size = edges
    reader = decord.VideoReader(path, width=scaled or -1, height=scaled or -1, num_threads=1)
    frames = torch.from_numpy(reader.get_batch(wanted).asnumpy())
    if frames.shape[1:3] != (size, size):
        pixels = frames.permute(0, 3, 1, 2).float()
        pixels = interpolate(pixels, (size, size), mode="bicubic", align_corners=False)
        frames = pixels.round().clamp(0, 255).to(torch.uint8)
    return frames.sum(dtype=torch.int64).item() / frames.numel()  # cheaply: it is timed
