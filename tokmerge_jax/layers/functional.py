"""Functions of arrays that several networks share: patches, position tables, unit vectors."""

import math

import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Float


def unit(x: Float[Array, "*any E"]) -> Float[Array, "*any E"]:
    """Scales vectors to unit norm (float32); without an epsilon, so a zero vector becomes NaN."""
    x = x.astype(jnp.float32)
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def patchify(video: Float[Array, "B T H W C"], edge: int) -> Float[Array, "B N D"]:
    """Cuts each frame into patches of `edge` x `edge` pixels.

    Patches come in order of frame, row, column; each is flattened as row, column, colour. A dense
    layer on them equals a convolution whose kernel and stride are the patch.
    """
    return rearrange(video, "b t (h i) (w j) c -> b (t h w) (i j c)", i=edge, j=edge)


def sincos(positions: int, width: int) -> np.ndarray:
    """Returns the fixed table of "Attention Is All You Need", float32 [positions, width].

    Channel j of position p has the angle p / 10000^(2 floor(j/2) / width): its sine where j is
    even, its cosine where j is odd.
    """
    channel = np.arange(width)
    angle = np.arange(positions)[:, None] / 10000 ** (2 * (channel // 2) / width)
    return np.where(channel % 2 == 0, np.sin(angle), np.cos(angle)).astype(np.float32)


def space_time(patches: int, width: int, frames: int, table_frames: int) -> np.ndarray:
    """Returns UMT's table for frames of `patches` patches, float32 [frames*patches, width].

    If `frames` is not the checkpoint's number of frames, the table of `table_frames` frames is
    interpolated linearly over time (half-pixel centres). A single frame has a table of its own.
    Source: UMT (ICCV 2023), `ckpt_num_frame`.
    """
    if frames in (1, table_frames):
        return sincos(frames * patches, width)
    table = rearrange(sincos(table_frames * patches, width), "(t p) c -> t p c", p=patches)
    return rearrange(_resample(table, frames), "t p c -> (t p) c")


def _resample(table: np.ndarray, frames: int) -> np.ndarray:
    """Interpolates [F, ...] linearly over its first axis; the edges are repeated outside."""
    length = len(table)
    place = np.clip((np.arange(frames) + 0.5) * length / frames - 0.5, 0, length - 1)
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, length - 1)
    share = (place - low).astype(np.float32)[:, None, None]
    return (1 - share) * table[low] + share * table[high]


def nearest(table: Float[Array, "F C"], length: int) -> Float[Array, "M C"]:
    """Reads a learned table at `length` places: row floor(i F / length) at place i."""
    return table[_nearest(len(table), length)]


def nearest_grid(table: Float[Array, "P C"], edge: int) -> Float[Array, "M C"]:
    """Reads the learned table of a square grid, row by row, at a grid of `edge` x `edge`."""
    rows = math.isqrt(len(table))
    place = _nearest(rows, edge)
    return table[(rows * place[:, None] + place[None]).ravel()]


def _nearest(rows: int, length: int) -> np.ndarray:
    return np.arange(length) * rows // length
