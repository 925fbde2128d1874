"""Arrays on disk whose rows are written in any order, by any number of processes.

`object_rows` has the same for object stores.
"""

import errno
import itertools
import math
import os
import pathlib
from collections.abc import Mapping
from typing import BinaryIO, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Bool, Int, UInt64

from tokmerge_jax import disk, hosts

Places = Int[np.ndarray, "..."] | int | np.integer
"""Indices of rows."""

MARK = np.dtype(np.uint64)
"""The type of the mark of a written row; 0 = not written."""

_NO_ALLOCATION = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)  # file system cannot preallocate


@runtime_checkable
class Part(Protocol):
    """The rows that one process writes: the numbers, and one mark per row.

    Attributes:
      kind: shape and dtype.
      marks: the marks of the rows, 0 where nothing is written.
    """

    kind: tuple[tuple[int, ...], np.dtype]
    marks: np.ndarray

    def read(self, places: Places | slice, /) -> np.ndarray:
        """Reads rows, or one row; anything where nothing is written."""
        ...

    def write(self, rows: np.ndarray, values: np.ndarray, marks: np.ndarray) -> None:
        """Stores `values[i]` as row `rows[i]`; a kill leaves a row whole, or not written."""
        ...


class FilePart:
    """A part in two files.

    Rows are read through a memory map, but written through the file: on a full disk a map would
    kill the process (SIGBUS), a file raises OSError.
    """

    def __init__(self, file: pathlib.Path, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        """Opens an allocated part.

        Raises:
          ValueError: if the file has another size.
          OSError: if it cannot be read.
        """
        self._file, self._mark_file = file, file.with_suffix(".done")
        _check_size(self._file, shape, dtype)
        _check_size(self._mark_file, shape[:1], MARK)
        self._values = mapped(self._file, shape, dtype)
        self.kind = shape, self._values.dtype
        self.marks = mapped(self._mark_file, shape[:1], MARK)

    @staticmethod
    def allocate(file: pathlib.Path, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        """Creates a part of zeros without written rows, reserving its disk space at once."""
        _allocate(file, math.prod(shape) * jnp.dtype(dtype).itemsize)
        _allocate(file.with_suffix(".done"), shape[0] * MARK.itemsize)

    def read(self, places: Places | slice, /) -> np.ndarray:
        """Reads rows, or one row; zeros where nothing is written."""
        return self._values[places]

    def write(self, rows: np.ndarray, values: np.ndarray, marks: np.ndarray) -> None:
        """Stores `values[i]` as row `rows[i]`: first the numbers, then their marks."""
        _write(self._file, rows, np.asarray(values, self._values.dtype))
        _write(self._mark_file, rows, np.asarray(marks, MARK))


class Rows:
    """An array on disk whose rows are written in any order, by any number of processes.

    Each process writes a part of its own, and a row is read from the part that holds it: shared
    file systems may mix up what several hosts write into one file.
    """

    def __init__(self, parts: Mapping[int, Part], stamps: UInt64[np.ndarray, " N"]) -> None:
        """Unites the parts, by number of their process; a written row is marked by its stamp."""
        self._parts, self._stamps = dict(sorted(parts.items())), stamps

    @property
    def todo(self) -> np.ndarray:
        """The rows that are not written yet, ascending."""
        return np.flatnonzero(~self._written().any(axis=0))

    @property
    def values(self) -> np.ndarray:
        """All rows; zero where nothing was written yet."""
        first, *others = self._parts.values()
        return self[np.arange(len(self._stamps))] if others else first.read(slice(None))

    def __getitem__(self, places: Places, /) -> np.ndarray:
        """Reads the rows at `places`, or one row."""
        first, *others = self._parts.values()
        values = first.read(places)
        if others:
            values = np.array(values)
        for part in others:
            held = part.marks[places] == self._stamps[places]
            values[held] = part.read(np.asarray(places)[held])
        return values

    def write(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Stores `values[i]` as row `rows[i]` in the part of this process."""
        self._parts[hosts.number()].write(rows, values, self._stamps[rows])

    def counts(self) -> list[int]:
        """Number of rows in the part of each process of this run."""
        written = dict(zip(self._parts, self._written().sum(axis=1).tolist(), strict=True))
        return [written.get(number, 0) for number in range(hosts.count())]

    def _written(self) -> Bool[np.ndarray, "parts N"]:
        return np.stack([part.marks == self._stamps for part in self._parts.values()])


def mapped(file: pathlib.Path | BinaryIO, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """The content of a file as an array that cannot be written."""
    if not math.prod(shape):  # an empty file cannot be mapped
        return np.zeros(shape, jnp.dtype(dtype))
    return np.memmap(file, jnp.dtype(dtype), "r", shape=shape)


def put(file: BinaryIO, rows: np.ndarray, values: np.ndarray) -> None:
    """Writes `values[i]` as row `rows[i]` of a file's array."""
    begins = np.flatnonzero(np.diff(rows, prepend=-2) != 1)  # of runs of rows
    for begin, end in itertools.pairwise([*begins.tolist(), len(rows)]):
        file.seek(int(rows[begin]) * values[begin].nbytes)
        file.write(values[begin:end].tobytes())
    file.flush()


def _check_size(file: pathlib.Path, shape: tuple[int, ...], dtype: DTypeLike) -> None:
    kind, size = jnp.dtype(dtype), file.stat().st_size
    if size != math.prod(shape) * kind.itemsize:
        raise ValueError(f"{file} has {size} bytes, not those of {kind} {shape}")


def _allocate(file: pathlib.Path, size: int) -> None:
    """Creates a file of zeros, reserving its space where the file system can; elsewhere a full disk
    is noticed only when rows are written.
    """
    with disk.explained(file), file.open("wb") as opened:
        opened.truncate(size)
        # Each of several processes writes only some of the rows.
        if size and hosts.count() == 1 and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(opened.fileno(), 0, size)
            except OSError as error:
                if error.errno not in _NO_ALLOCATION:
                    raise


def _write(file: pathlib.Path, rows: np.ndarray, values: np.ndarray) -> None:
    with disk.explained(file), file.open("r+b") as opened:
        put(opened, rows, values)
        os.fsync(opened.fileno())  # a mark must not reach the disk before its numbers
