"""Videos of an array in batches, as evaluations ask for them."""

from collections.abc import Iterator

import numpy as np

from tokmerge_jax.types import Batch


def batches(video: np.ndarray, size: int, rows: np.ndarray) -> Iterator[Batch]:
    """`video`, `index` and `mask` of these rows, `size` at a time; zeros pad the last batch."""
    for first in range(0, len(rows), size):
        index = np.full(size, -1, np.int32)
        part = rows[first : first + size]
        index[: len(part)] = part
        padded = np.zeros((size, *video.shape[1:]), video.dtype)
        padded[: len(part)] = video[part]
        yield {"video": padded, "index": index, "mask": index >= 0}
