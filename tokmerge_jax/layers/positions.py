"""Position tables: of sines and cosines, and learned tables that are read at other sizes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Float

from tokmerge_jax.resampling import bicubic


def sincos(positions: int, width: int) -> np.ndarray:
    """Returns the fixed table of "Attention Is All You Need", float32 [positions, width].

    Channel j of position p has the angle p / 10000^(2 floor(j/2) / width): its sine where j is
    even, its cosine where j is odd.
    """
    channel = np.arange(width)
    angle = np.arange(positions)[:, None] / 10000 ** (2 * (channel // 2) / width)
    return np.where(channel % 2 == 0, np.sin(angle), np.cos(angle)).astype(np.float32)


def sincos_halves(positions: int, width: int) -> np.ndarray:
    """Returns VideoPrism's fixed table of text positions, float32 [positions, width].

    The sines of p exp(-i ln(10000) / (width / 2 - 1)), i < width / 2, then the cosines.
    Source: VideoPrism (ICML 2024), its released code.
    """
    half = width // 2
    angle = np.arange(positions)[:, None] * 10000 ** (-np.arange(half) / (half - 1))
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


def space_time(
    patches: int, width: int, frames: int, table_frames: int, grid: int = 0
) -> np.ndarray:
    """Returns UMT's table for frames of `patches` patches, float32 [frames*patches, width].

    The checkpoint's table, of `table_frames` frames, is interpolated to `frames` frames: linearly
    over time, with half-pixel centres. For retrieval (no `grid`), a single frame has a table of its
    own. For actions, the table is that of `grid` x `grid` patches; squares of another size
    interpolate it over space too, as `resampling.bicubic`.
    Source: UMT (ICCV 2023), `ckpt_num_frame`; its action recognition.
    """
    if frames == 1 and not grid:
        return sincos(patches, width)
    table = sincos(table_frames * (grid**2 or patches), width)
    table = rearrange(table, "(t p) c -> t p c", t=table_frames)
    if grid and grid**2 != patches:
        table = _squares(table, bicubic(grid, math.isqrt(patches)))
    if frames != table_frames:
        table = _at_times(table, frames)
    return rearrange(table, "t p c -> (t p) c")


def _squares(table: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """A table [T,P,C] of square grids of which `weights` makes other ones."""
    grids = rearrange(table, "t (h w) c -> t h w c", h=weights.shape[1])
    grids = np.einsum("ih,jw,thwc->tijc", weights, weights, grids, optimize=True)
    return rearrange(grids, "t h w c -> t (h w) c")


def _at_times(table: np.ndarray, frames: int) -> np.ndarray:
    """A table [T,P,C] at `frames` times, linearly."""
    last = len(table) - 1
    place = np.clip((np.arange(frames) + 0.5) * len(table) / frames - 0.5, 0, last)
    low = np.floor(place).astype(int)
    share = (place - low).astype(np.float32)[:, None, None]
    return (1 - share) * table[low] + share * table[np.minimum(low + 1, last)]


def resample(table: Float[Array, "T C"], length: int) -> Float[Array, "M C"]:
    """Resamples a learned table to `length` places: row floor(i T / length) at place i."""
    return table[_nearest_rows(len(table), length)]


def resample_grid(table: Float[Array, "N C"], edge: int) -> Float[Array, "M C"]:
    """Resamples the learned table of a square grid, row by row, to `edge` x `edge` places."""
    rows = math.isqrt(len(table))
    place = _nearest_rows(rows, edge)
    return table[(rows * place[:, None] + place[None]).ravel()]


def linear_grid(
    table: Float[Array, "N C"], edge: int, rows: int, columns: int, *, antialias: bool = False
) -> Float[Array, "M C"]:
    """Reads the learned table of a square grid, after leading rows that stay, at another grid.

    Linear on both axes, with half-pixel centres and the edge repeated beyond itself.

    Args:
      table: leading rows for class tokens, then `edge` x `edge` places, row by row.
      edge: of the table's grid.
      rows: number of rows of the grid wanted.
      columns: number of its columns.
      antialias: whether smaller grids are means over more than the nearest places.
    """
    if (rows, columns) == (edge, edge):
        return table
    grid = rearrange(table[len(table) - edge**2 :], "(h w) c -> h w c", h=edge)
    grid = jax.image.resize(grid, (rows, columns, grid.shape[-1]), "linear", antialias=antialias)
    return jnp.concatenate([table[: len(table) - edge**2], rearrange(grid, "h w c -> (h w) c")])


def sincos_grid(frames: int, edge: int, width: int) -> np.ndarray:
    """Returns the table that InternVideo2's training starts from, float32 [1+T*E*E, width].

    The first row, a class token's, is 0. In the others, the first quarter of the channels depends
    on the frame, the next three eighths on the column, the last three on the row. Of d channels
    that depend on place p, number j of the first half is the sine, and of the second half the
    cosine, of p / 10000^(2 j / d).

    Args:
      frames: T.
      edge: E, of the square grid of patches in a frame.
      width: number of channels, a multiple of 16.
    """
    parts = (0, width // 4), (2, 3 * width // 8), (1, 3 * width // 8)
    place = np.indices((frames, edge, edge)).reshape(3, -1, 1)
    grid = np.concatenate([_waves(place[axis], share) for axis, share in parts], axis=1)
    return np.pad(grid, ((1, 0), (0, 0))).astype(np.float32)


def _waves(place: np.ndarray, width: int) -> np.ndarray:
    angle = place / 10000 ** (np.arange(width // 2) / (width // 2))
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


def video_grid(
    table: Float[Array, "N C"], size: tuple[int, int], wanted: tuple[int, int, int]
) -> Float[Array, "M C"]:
    """Reads the learned table of a video, after a class token's row that stays, at another grid.

    Linear over time, then bicubic (Keys 1981, a = -0.75) in each frame; both with half-pixel
    centres, the edge repeated beyond itself, and no antialiasing.

    Args:
      table: the class token's row, then frame by frame the square grid of its places.
      size: number of frames and edge of the table's grid.
      wanted: number of frames, rows and columns of the grid wanted.
    """
    frames, edge = size
    grid = rearrange(table[1:], "(t h w) c -> t h w c", t=frames, h=edge)
    if frames != wanted[0]:
        shape = (wanted[0], *grid.shape[1:])
        grid = jax.image.resize(grid, shape, "linear", antialias=False)
    if (edge, edge) != wanted[1:]:
        rows, columns = (bicubic(edge, size) for size in wanted[1:])
        grid = jnp.einsum("ih,jw,thwc->tijc", rows, columns, grid, precision="highest")
    return jnp.concatenate([table[:1], rearrange(grid, "t h w c -> (t h w) c")])


def one_frame(table: Float[Array, "N C"], frames: int) -> Float[Array, "M C"]:
    """Averages the frames of such a table, for a single picture."""
    mean = rearrange(table[1:], "(t p) c -> t p c", t=frames).mean(axis=0)
    return jnp.concatenate([table[:1], mean])


def linear_times(table: Float[Array, "T C"], frames: int) -> Float[Array, "M C"]:
    """Reads a learned table of times at another number of frames, linearly with antialiasing."""
    return jax.image.resize(table, (frames, table.shape[-1]), "linear")


def places(rows: int, columns: int, class_tokens: int) -> np.ndarray:
    """(column, row) of each token of a picture, float32 [class_tokens + rows * columns, 2].

    Class tokens are at (0, 0). If there are any, patches are counted from 1, otherwise from 0.
    Source: Perception Encoder (arXiv 2504.13181), its released code.
    """
    column, row = np.meshgrid(np.arange(columns), np.arange(rows))
    grid = np.stack([column.ravel(), row.ravel()], axis=-1) + (class_tokens > 0)
    return np.concatenate([np.zeros((class_tokens, 2)), grid]).astype(np.float32)


def _nearest_rows(rows: int, length: int) -> np.ndarray:
    return np.arange(length) * rows // length
