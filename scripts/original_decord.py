"""Decoding as the originals do it, by decord, for `benchmark_original.py`."""

import decord
import numpy as np
import torch


def decode(paths: list[str], frames: list[list[int]], size: int, threads: int) -> torch.Tensor:
    """Mean values of the wanted frames of each video, scaled to `size` x `size` while decoded."""
    means = []
    for path, wanted in zip(paths, frames, strict=True):
        reader = decord.VideoReader(path, width=size, height=size, num_threads=threads)
        means.append(reader.get_batch(wanted).asnumpy().mean(dtype=np.float64))
    return torch.tensor(means)
