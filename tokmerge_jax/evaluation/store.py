"""Writes results to disk as they are computed, so that a killed run can resume.

A store belongs to the facts that its numbers depend on; other facts get another folder. Rows about
a video also depend on its file; if the file changes, they are computed again. One process writes a
store; it may drive any number of devices.
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

_NO_ALLOCATION = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)  # file system cannot preallocate
_VIEWS = ("clips", "crops", "neighbours", "wrap")  # keys of `config.data` in action recognition


def model_facts(system: System, params: Params) -> dict[str, Json]:
    """The facts that features, or logits of actions, depend on beside the video or text itself."""
    config, data = system.config, system.config.data
    actions = isinstance(data, ActionData)
    views = [f"{key}={getattr(data, key)}" for key in _VIEWS] if actions else []
    decoded = [data.sampling, data.trim_seconds, data.decode_size, *views]
    return {
        "system": system.name,
        "model": config.model.to_dict(),
        "compute": np.dtype(runtime.compute_dtype(config.dtype)).name,
        "checkpoint": runtime.digest(jax.tree.leaves(params)),
        "frames": [*decoded, str(system.pixels.transform)],
        "package": runtime.versions()["tokmerge_jax"],
    }


class Rows:
    """An array on disk whose rows are written in any order.

    Rows are read through a memory map, but written through the file: on a full disk a map would
    kill the process (SIGBUS), a file raises OSError.

    Attributes:
      values: the rows; zero where nothing was written yet.
    """

    def __init__(self, file: pathlib.Path, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        """Opens an allocated array: the numbers, and one byte per row, 1 if the row was written.

        Raises:
          ValueError: if the file has another size.
          OSError: if it cannot be read.
        """
        self._file, self._marks = file, file.with_suffix(".done")
        self.values: np.ndarray = _mapped(self._file, shape, dtype)
        self._done = _mapped(self._marks, shape[:1], np.uint8)

    @staticmethod
    def allocate(file: pathlib.Path, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        """Creates an array of zeros without written rows, reserving its disk space at once."""
        _allocate(file, math.prod(shape) * jnp.dtype(dtype).itemsize)
        _allocate(file.with_suffix(".done"), shape[0])

    @property
    def todo(self) -> np.ndarray:
        """The rows that are not written yet, ascending."""
        return np.flatnonzero(self._done != 1)

    def write(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Stores `values[i]` as row `rows[i]`: first the numbers, then their marks."""
        _write(self._file, rows, np.asarray(values, self.values.dtype))
        _write(self._marks, rows, np.ones(len(rows), np.uint8))

    def forget(self, rows: np.ndarray) -> None:
        """Marks rows as not written."""
        _write(self._marks, rows, np.zeros(len(rows), np.uint8))


class Store:
    """A folder of `Rows` and notes that belongs to one set of facts.

    Attributes:
      fingerprint: fingerprint of the facts.
    """

    def __init__(
        self,
        root: pathlib.Path,
        facts: Mapping[str, Json],
        stamps: UInt64[np.ndarray, " V"] | None = None,
    ) -> None:
        """Opens or creates the folder for `facts` (JSON values) under `root`.

        `stamps` identify the content of the videos' files; None = the files never change.
        """
        self._stamps = stamps
        self.fingerprint = runtime.fingerprint(facts)
        self._folder = root / self.fingerprint
        with disk.explained(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        self.note("facts", facts)

    def open(self, name: str, videos: Sequence[int] | None = None) -> Rows | None:
        """Opens the array `name`; None if it does not exist or is damaged, which is reported.

        `videos` are the videos of its rows: rows of changed files are marked as not written.
        """
        note = self.noted(f"{name}.array", dict)
        if note is None:
            return None
        try:
            rows = Rows(self._rows(name), tuple(note["shape"]), jnp.dtype(note["dtype"]))
        except (KeyError, TypeError, ValueError, FileNotFoundError):
            self._forget(f"{name}.array")
            return None
        return self._renewed(name, rows, videos)

    def _renewed(self, name: str, rows: Rows, videos: Sequence[int] | None) -> Rows:
        """Marks rows as not written if the files of their `videos` had other stamps."""
        if self._stamps is None or videos is None:
            return rows
        stamps = self._stamps[np.asarray(videos)]
        file = self._rows(name).with_suffix(".stamps")
        known = np.fromfile(file, np.uint64) if file.exists() else np.zeros(0, np.uint64)
        same = known == stamps if known.shape == stamps.shape else np.zeros(len(stamps), bool)
        if not same.all():
            rows.forget(np.flatnonzero(~same))
            part = file.with_suffix(".part")
            with disk.explained(file):
                part.write_bytes(stamps.tobytes())
                os.replace(part, file)
        return rows

    def make(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        videos: Sequence[int] | None = None,
    ) -> Rows:
        """Opens the array `name`, or creates it with zeros; its first axis is the rows.

        `videos` as in `open`.
        """
        kind, rows = jnp.dtype(dtype), self.open(name, videos)
        if rows is not None and (rows.values.shape, rows.values.dtype) == (shape, kind):
            return rows
        self._path(f"{name}.array").unlink(missing_ok=True)
        Rows.allocate(self._rows(name), shape, kind)
        self.note(f"{name}.array", {"shape": shape, "dtype": kind.name})  # last: now it is complete
        return self._renewed(name, Rows(self._rows(name), shape, kind), videos)

    def note(self, name: str, value: Json) -> None:
        """Writes a JSON value under a name, atomically."""
        runtime.write_text(self._path(name), json.dumps(value, indent=1))

    def noted(self, name: str, kind: type[T]) -> T | None:
        """Reads the value noted under a name; None if there is none or, reported, no `kind`."""
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
    if not size:  # an empty file cannot be mapped
        return np.zeros(shape, kind)
    return np.memmap(file, kind, "r", shape=shape)


def _allocate(file: pathlib.Path, size: int) -> None:
    """Creates a file of zeros, reserving its space where the file system can; elsewhere a full disk
    is noticed only when rows are written.
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
        os.fsync(opened.fileno())  # a mark must not reach the disk before its numbers
