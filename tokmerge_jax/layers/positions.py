"""Sine-cosine position tables, computed once in numpy and held by the compiled program."""

import numpy as np


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
    table = sincos(table_frames * patches, width).reshape(table_frames, patches, width)
    return _resample(table, frames).reshape(frames * patches, width)


def _resample(table: np.ndarray, frames: int) -> np.ndarray:
    """Linear interpolation of [F, ...] over its first axis, edges held."""
    length = len(table)
    place = np.clip((np.arange(frames) + 0.5) * length / frames - 0.5, 0, length - 1)
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, length - 1)
    share = (place - low).astype(np.float32)[:, None, None]
    return (1 - share) * table[low] + share * table[high]
