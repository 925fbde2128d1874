"""Results on disk as they come, so that a run that was killed goes on where it was.

A store belongs to the facts that its numbers depend on: other facts, another folder. Rows that are
about a video also depend on its file: of one that has changed they are computed again. A store is
written by one process, which may drive any number of devices.
"""

import errno
import json
import math
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import UInt64

from tokmerge_jax import disk, runtime
from tokmerge_jax.config.common import ActionData
from tokmerge_jax.system import System
from tokmerge_jax.types import Json, Params

T = TypeVar("T")

_NO_ALLOCATION = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)  # of file systems without it
_VIEWS = ("clips", "crops", "neighbours", "wrap")  # keys of systems that tell actions


def model_facts(system: System, params: Params) -> dict[str, Json]:
    """What features, or an action's logits, depend on beside the video or text itself."""
    config, data = system.config, system.config.data
    scaled = [data.decode_size] if data.decode_size else []
    actions = isinstance(data, ActionData)
    views = [f"{key}={getattr(data, key)}" for key in _VIEWS] if actions else []
    decoded = [data.sampling, data.trim_seconds, *scaled, *views]
    return {
        "system": system.name,
        "model": config.model.to_dict(),
        "compute": np.dtype(runtime.compute_dtype(config.dtype)).name,
        "checkpoint": runtime.digest(jax.tree.leaves(params)),
        "frames": [*decoded, str(system.pixels.transform)],
        "package": runtime.versions()["tokmerge_jax"],
    }


class Rows:
    """An array on disk whose rows are written one after the other or in any order.

    They are read through a memory map but written as files are: where a disk is full, a map ends
    the process (SIGBUS), a file raises OSError.

    Attributes:
      values: the rows; zero where nothing has been written.
    """

    def __init__(self, file: pathlib.Path, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        """Opens what `allocate` made: the numbers, and a byte a row, 1 where it has been written.

        Raises:
          ValueError: if its size is another.
          OSError: if it cannot be read.
        """
        self._file, self._marks = file, file.with_suffix(".done")
        self.values: np.ndarray = _mapped(self._file, shape, dtype)
        self._done = _mapped(self._marks, shape[:1], np.uint8)

    @staticmethod
    def allocate(file: pathlib.Path, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        """Makes an array of zeros, its room on the disk taken at once, and no row written."""
        _allocate(file, math.prod(shape) * jnp.dtype(dtype).itemsize)
        _allocate(file.with_suffix(".done"), shape[0])

    @property
    def todo(self) -> np.ndarray:
        """The rows that have not been written yet, ascending."""
        return np.flatnonzero(self._done != 1)

    def write(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Stores `values[i]` as row `rows[i]`: first the numbers, then the note that they are."""
        _write(self._file, rows, np.asarray(values, self.values.dtype))
        _write(self._marks, rows, np.ones(len(rows), np.uint8))

    def forget(self, rows: np.ndarray) -> None:
        """Makes rows that are still to be written of these."""
        _write(self._marks, rows, np.zeros(len(rows), np.uint8))


class Store:
    """A folder of `Rows` and notes that belongs to one set of facts.

    Attributes:
      fingerprint: of the facts.
    """

    def __init__(
        self,
        root: pathlib.Path,
        facts: Mapping[str, Json],
        stamps: UInt64[np.ndarray, " V"] | None = None,
    ) -> None:
        """Opens or makes the folder of `facts` (anything that JSON holds) under `root`.

        `stamps` differ where the videos' files do; None: they never change.
        """
        self._stamps = stamps
        self.fingerprint = runtime.fingerprint(facts)
        self._folder = root / self.fingerprint
        with disk.explained(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        self.note("facts", facts)

    def open(self, name: str, videos: Sequence[int] | None = None) -> Rows | None:
        """The array `name`; None if it has not been made, or is damaged, which is reported.

        `videos` are those that its rows are about: rows of files that have changed are to be
        written again.
        """
        note = self.noted(f"{name}.array", dict)
        if note is None:
            return None
        try:
            rows = Rows(self._rows(name), tuple(note["shape"]), jnp.dtype(note["dtype"]))
        except (KeyError, TypeError, ValueError, FileNotFoundError):
            self._forget(f"{name}.array")
            return None
        if self._stamps is not None and videos is not None:
            self._renew(name, rows, self._stamps[np.asarray(videos)])
        return rows

    def _renew(self, name: str, rows: Rows, stamps: UInt64[np.ndarray, " R"]) -> None:
        """Forgets the rows that were written when their files had other stamps."""
        file = self._rows(name).with_suffix(".stamps")
        known = np.fromfile(file, np.uint64) if file.exists() else np.zeros(0, np.uint64)
        same = known == stamps if known.shape == stamps.shape else np.zeros(len(stamps), bool)
        if not same.all():
            rows.forget(np.flatnonzero(~same))
            part = file.with_suffix(".part")
            with disk.explained(file):
                part.write_bytes(stamps.tobytes())
                os.replace(part, file)

    def make(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        videos: Sequence[int] | None = None,
    ) -> Rows:
        """The array `name`, opened, or made of zeros; its first axis is the rows.

        `videos` as of `open`.
        """
        kind, rows = jnp.dtype(dtype), self.open(name, videos)
        if rows is not None and (rows.values.shape, rows.values.dtype) == (shape, kind):
            return rows
        self._path(f"{name}.array").unlink(missing_ok=True)
        Rows.allocate(self._rows(name), shape, kind)
        self.note(f"{name}.array", {"shape": shape, "dtype": kind.name})  # last: now it is made
        rows = self.open(name, videos)
        assert rows is not None
        return rows

    def note(self, name: str, value: Json) -> None:
        """Writes a value that JSON holds, whole or not at all."""
        runtime.write_text(self._path(name), json.dumps(value, indent=1))

    def noted(self, name: str, kind: type[T]) -> T | None:
        """What was noted; None if nothing, or no `kind`, which is reported."""
        if not self._path(name).exists():
            return None
        try:
            value = json.loads(self._path(name).read_text("utf-8"))
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, kind):
            return value
        self._forget(name)
        return None

    def _forget(self, name: str) -> None:
        print(f"{self._path(name)} is damaged; its numbers are computed again", file=sys.stderr)
        self._path(name).unlink()

    def _rows(self, name: str) -> pathlib.Path:
        return self._folder / f"{name}.rows"

    def _path(self, name: str) -> pathlib.Path:
        return self._folder / f"{name}.json"


def _mapped(file: pathlib.Path, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    kind, size = jnp.dtype(dtype), file.stat().st_size
    if size != math.prod(shape) * kind.itemsize:
        raise ValueError(f"{file} has {size} bytes, not those of {kind} {shape}")
    if not size:  # which no map can have
        return np.zeros(shape, kind)
    return np.memmap(file, kind, "r", shape=shape)


def _allocate(file: pathlib.Path, size: int) -> None:
    """Makes a file of zeros that has its room, where the file system can give it at once; elsewhere
    a full disk is noticed row by row.
    """
    with disk.explained(file), file.open("wb") as opened:
        opened.truncate(size)
        if size and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(opened.fileno(), 0, size)
            except OSError as error:
                if error.errno not in _NO_ALLOCATION:
                    raise


def _write(file: pathlib.Path, rows: np.ndarray, values: np.ndarray) -> None:
    with disk.explained(file), file.open("r+b") as opened:
        for row, value in zip(rows.tolist(), values, strict=True):
            opened.seek(row * value.nbytes)
            opened.write(value.tobytes())
        opened.flush()
        os.fsync(opened.fileno())  # a note must not reach the disk before its numbers
