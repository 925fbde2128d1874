"""Position tables: sines and cosines, computed once in numpy, and learned ones read at places."""

import math

import numpy as np
from einops import rearrange
from jaxtyping import Array, Float


def sincos(positions: int, width: int) -> np.ndarray:
    """The fixed table of "Attention Is All You Need", float32 [positions, width].

    Channel j of position p has the angle p / 10000^(2 floor(j/2) / width): its sine where j is
    even, its cosine where j is odd.
    """
    channel = np.arange(width)
    angle = np.arange(positions)[:, None] / 10000 ** (2 * (channel // 2) / width)
    return np.where(channel % 2 == 0, np.sin(angle), np.cos(angle)).astype(np.float32)


def space_time(patches: int, width: int, frames: int, table_frames: int) -> np.ndarray:
    """UMT's table for `frames` frames of `patches` patches each, float32 [frames*patches, width].

    A video whose frame count is not the checkpoint's reads the table of `table_frames` frames,
    interpolated linearly over time (half-pixel centres). An image has a table of its own.
    Source: UMT (ICCV 2023), `ckpt_num_frame`.
    """
    if frames in (1, table_frames):
        return sincos(frames * patches, width)
    table = rearrange(sincos(table_frames * patches, width), "(t p) c -> t p c", p=patches)
    return rearrange(_resample(table, frames), "t p c -> (t p) c")


def _resample(table: np.ndarray, frames: int) -> np.ndarray:
    """Linear interpolation of [F, ...] over its first axis, edges held."""
    length = len(table)
    place = np.clip((np.arange(frames) + 0.5) * length / frames - 0.5, 0, length - 1)
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, length - 1)
    share = (place - low).astype(np.float32)[:, None, None]
    return (1 - share) * table[low] + share * table[high]


def nearest(table: Float[Array, "F C"], length: int) -> Float[Array, "M C"]:
    """A learned table read at `length` places: row floor(i F / length) at place i."""
    return table[_nearest(len(table), length)]


def nearest_grid(table: Float[Array, "P C"], edge: int) -> Float[Array, "M C"]:
    """A square grid's learned table, row by row, read at a grid of `edge` x `edge`."""
    rows = math.isqrt(len(table))
    place = _nearest(rows, edge)
    return table[(rows * place[:, None] + place[None]).ravel()]


def _nearest(rows: int, length: int) -> np.ndarray:
    return np.arange(length) * rows // length
