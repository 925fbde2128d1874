"""Matrices of scores, read by blocks of rows: those of a large gallery do not fit into memory."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np

from tokmerge_jax.runtime import finite

BLOCK = 2**22
"""Number of scores in a block: 16 MiB."""

_THREADS = min(os.cpu_count() or 1, 16)

R = TypeVar("R")


@runtime_checkable
class Matrix(Protocol):
    """Scores [R,S] of R rows: an array, or `Computed`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(R, S)."""
        ...

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        """Reads the scores [B,S] of some rows."""
        ...


@dataclasses.dataclass(frozen=True)
class Computed:
    """A matrix whose rows are computed whenever they are read.

    Attributes:
      shape: (R, S).
      compute: computes the scores [B,S] of some rows.
    """

    shape: tuple[int, int]
    compute: Callable[[slice], np.ndarray]

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        """Computes the scores of some rows."""
        return self.compute(rows)


def blocks(scores: Matrix) -> Iterator[slice]:
    """Yields runs of rows, in order, that hold at most `BLOCK` scores, but at least one row."""
    rows, columns = scores.shape
    size = max(BLOCK // columns, 1)
    for first in range(0, rows, size):
        yield slice(first, min(first + size, rows))


def map_blocks(
    function: Callable[..., R], scores: Matrix, *of_rows: Sequence[object] | np.ndarray
) -> Iterator[R]:
    """Yields `function(scores [B,S], the B elements of each of of_rows)` of all blocks, in order.

    Several blocks are computed at a time, since NumPy lets other threads work.

    Raises:
      UserError: if a score is not finite.
    """

    def compute(rows: slice) -> R:
        block = finite(scores[rows], "score", row=range(rows.start, rows.stop), column=None)
        return function(block, *(each[rows] for each in of_rows))

    with ThreadPoolExecutor(_THREADS) as pool:
        yield from pool.map(compute, blocks(scores))
