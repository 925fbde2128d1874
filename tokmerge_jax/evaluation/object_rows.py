"""Rows on an object store, as `rows.Part`."""

import math
import tempfile
import time
import weakref

import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.typing import DTypeLike

from tokmerge_jax import disk, objects
from tokmerge_jax.evaluation.rows import MARK, Places, mapped, put

_ROW = np.dtype("<i8")
_HEAD = _ROW.itemsize + MARK.itemsize  # bytes per row before the values
_TOGETHER = 8  # number of objects in memory at a time
_LARGE = 2**25  # bytes that do not wait for others


class ObjectPart:
    """A part as a folder of objects; of a row written twice, the later object counts.

    An object holds the numbers of its n rows (int64 [n]), their marks (uint64 [n]) and values: what
    was written in `objects.PERIOD` seconds, which a kill may lose. Rows are read from a local file
    without a name, which ends with the process: what this process writes is written there too,
    other objects are fetched when one of their rows is read.
    """

    def __init__(self, folder: epath.Path, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        """Opens a part.

        Raises:
          ValueError: if one of its objects is damaged.
        """
        self.kind = shape, jnp.dtype(dtype)
        self.marks = np.zeros(shape[0], MARK)
        self._bytes = math.prod(shape[1:]) * self.kind[1].itemsize
        self._folder, self._store = folder, objects.store(folder)
        self._objects: list[str] = []
        self._object_of = np.full(shape[0], -1, np.int32)  # index of what to fetch; -1 = nothing
        self._copy = tempfile.TemporaryFile()  # noqa: SIM115 (it ends with the part)
        weakref.finalize(self, self._copy.close)
        self._copy.truncate(shape[0] * self._bytes)
        self._values = mapped(self._copy, *self.kind)
        self._waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._sent = -math.inf  # when the last object was written
        self.refresh()

    @staticmethod
    def allocate(folder: epath.Path) -> None:
        """Makes a part without written rows."""
        with disk.explained(folder):
            disk.remove(folder)

    def refresh(self) -> None:
        """Sends what waits, and adds what was written since the part was opened.

        Raises:
          ValueError: if an object is damaged.
        """
        self._send()
        with disk.explained(self._folder):
            stored = self._store.find(str(self._folder), detail=True)
            listed = {self._store.unstrip_protocol(name): about for name, about in stored.items()}
            new = sorted(listed.keys() - set(self._objects))
            counts = [self._count(name, listed[name]["size"]) for name in new]
            ends = [_HEAD * count for count in counts]
            heads = self._store.cat_ranges(new, [0] * len(new), ends, on_error="raise")
        for name, head in zip(new, heads, strict=True):
            rows, marks = _head(head, len(head) // _HEAD)
            if rows.size and not 0 <= rows.min() <= rows.max() < len(self.marks):
                raise ValueError(f"{name} holds row {rows.max()} of {len(self.marks)}")
            self.marks[rows] = marks
            self._object_of[rows] = len(self._objects)
            self._objects.append(name)

    def read(self, places: Places | slice, /) -> np.ndarray:
        """Reads rows, or one row; zeros where nothing is written."""
        needed = np.setdiff1d(self._object_of[places], [-1])
        for first in range(0, len(needed), _TOGETHER):
            self._fetch(needed[first : first + _TOGETHER])
        return self._values[places]

    def write(self, rows: np.ndarray, values: np.ndarray, marks: np.ndarray) -> None:
        """Stores `values[i]` as row `rows[i]`, soon or, at the latest, by `refresh`."""
        values = np.asarray(values, self.kind[1])
        self.marks[rows] = marks
        self._keep(rows, values)
        self._waiting.append((rows.astype(_ROW), marks.astype(MARK), values))
        size = sum(values.nbytes for *_, values in self._waiting)
        if size > _LARGE or time.monotonic() > self._sent + objects.PERIOD:
            self._send()

    def _send(self) -> None:
        """Writes the rows that wait as one object."""
        if not self._waiting:
            return
        kinds = zip(*self._waiting, strict=True)
        content = b"".join(part.tobytes() for kind in kinds for part in kind)
        number = int(self._objects[-1].rpartition("/")[2]) + 1 if self._objects else 0
        name = f"{self._folder}/{number:08d}"
        with disk.explained(name):
            self._store.pipe_file(name, content)
        self._objects.append(name)
        self._waiting, self._sent = [], time.monotonic()

    def _fetch(self, needed: np.ndarray) -> None:
        names = [self._objects[number] for number in needed]
        with disk.explained(self._folder):
            contents = self._store.cat(names)  # by name, ascending
        for name, number, content in zip(names, needed, contents.values(), strict=True):
            rows, _ = _head(content, self._count(name, len(content)))
            values = np.frombuffer(content, self.kind[1], offset=len(rows) * _HEAD)
            values = values.reshape(len(rows), *self.kind[0][1:])
            latest = self._object_of[rows] == number
            self._keep(rows[latest], values[latest])

    def _keep(self, rows: np.ndarray, values: np.ndarray) -> None:
        with disk.explained(tempfile.gettempdir()):
            put(self._copy, rows, values)
        self._object_of[rows] = -1

    def _count(self, name: str, size: int) -> int:
        """The number of rows in an object of `size` bytes."""
        count, rest = divmod(size, _HEAD + self._bytes)
        if rest or not count:
            raise ValueError(f"{name} has {size} bytes, not those of whole rows")
        return count


def _head(content: bytes, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The numbers and marks of the rows in an object."""
    rows = np.frombuffer(content, _ROW, count)
    return rows, np.frombuffer(content, MARK, count, rows.nbytes)
