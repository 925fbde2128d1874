"""Writes results to disk as they are computed, so that a killed run can resume.

A store belongs to the facts that its numbers depend on; other facts get another folder. Rows about
a video also depend on its file; if the file changes, they are computed again. Any number of
processes write a store together, on hosts that share its folder, and any other number resumes.
"""

import json
import math
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Int, UInt64

from tokmerge_jax import disk, hosts, objects, runtime
from tokmerge_jax.config.common import ActionData
from tokmerge_jax.evaluation.object_rows import ObjectPart
from tokmerge_jax.evaluation.rows import MARK, FilePart, Part, Rows
from tokmerge_jax.objects import Place
from tokmerge_jax.system import System
from tokmerge_jax.types import Json, Params, UserError

T = TypeVar("T")

Videos = Sequence[int] | Int[np.ndarray, " N"]
"""The video of each row of an array."""

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


class Store:
    """A folder of `Rows` and notes that belongs to one set of facts.

    Attributes:
      fingerprint: fingerprint of the facts.
    """

    def __init__(
        self,
        root: Place,
        facts: Mapping[str, Json],
        stamps: UInt64[np.ndarray, " V"] | None = None,
    ) -> None:
        """Opens or creates the folder for `facts` (JSON values) under `root`.

        `stamps` identify the content of the videos' files; None = the files never change.
        """
        self._stamps = stamps
        self.fingerprint = runtime.fingerprint(facts)
        self._folder = root / self.fingerprint
        disk.make(self._folder)
        self._opened: dict[Place, ObjectPart] = {}
        self._noted: dict[str, float] = {}  # name -> time of `note_often`
        self.note("facts", facts)

    def open(self, name: str, videos: Videos | None = None) -> Rows | None:
        """Opens the array `name`; None if it does not exist or is damaged, which is reported.

        `videos` are the videos of its rows: rows of changed files count as not written.
        """
        numbers = sorted({0, *map(int, self._numbers(name))})
        parts = {n: part for n in numbers if (part := self._part(name, n)) is not None}
        first = parts.get(hosts.number()) or next(iter(parts.values()), None)
        if first is None:
            return None
        alike = {n: part for n, part in parts.items() if part.kind == first.kind}
        return Rows(alike, self._stamps_of(len(first.marks), videos))

    def make(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        videos: Videos | None = None,
    ) -> Rows:
        """Opens the array `name` for writing, or creates it with zeros; its first axis is the rows.

        `videos` as in `open`.
        """
        kind, part = (shape, jnp.dtype(dtype)), self._part(name, hosts.number())
        if part is None or part.kind != kind:
            self._path(f"{name}.array").unlink(missing_ok=True)
            self._allocate(self._rows(name, hosts.number()), *kind)
            note = {"shape": shape, "dtype": kind[1].name}
            self.note(f"{name}.array", note)  # last: now it is complete
        rows = self.open(name, videos)
        assert rows is not None
        return rows

    def gathered(self, name: str, videos: Videos | None = None) -> Rows | None:
        """Waits until all processes have written their rows, and opens them; otherwise as `open`.

        Raises:
          UserError: if what other processes have written does not appear here.
        """
        rows = self.open(name, videos)
        counts = hosts.gather(rows.counts()[hosts.number()] if rows else 0)

        def seen() -> bool:
            rows = self.open(name, videos)
            return rows.counts() == counts if rows else not any(counts)

        hosts.wait_until_visible(self._folder, seen)
        return self.open(name, videos)

    def whole(self, name: str, videos: Videos | None = None) -> np.ndarray:
        """The rows of all processes, of an array that this one has made; else as `gathered`."""
        rows = self.gathered(name, videos)
        assert rows is not None
        return np.array(rows.values)

    def _part(self, name: str, number: int) -> Part | None:
        """Opens the part of a process; None if it does not exist or, reported, is damaged."""
        note = self._path(f"{name}.array", number)
        about = self._read(note, dict, number)
        if about is None:
            return None
        try:
            kind = tuple(about["shape"]), jnp.dtype(about["dtype"])
            return self._open_part(self._rows(name, number), *kind)
        except UserError:  # the store refuses to be read
            raise
        except (KeyError, TypeError, ValueError, FileNotFoundError):
            _forget(note, number)
            return None

    def _allocate(self, file: Place, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        """Creates an empty part."""
        if isinstance(file, pathlib.Path):
            FilePart.allocate(file, shape, dtype)
        else:
            self._opened.pop(file, None)
            ObjectPart.allocate(file)

    def _open_part(self, file: Place, shape: tuple[int, ...], dtype: DTypeLike) -> Part:
        """Opens a part; one on an object store is opened once, since it holds a local copy."""
        if isinstance(file, pathlib.Path):
            return FilePart(file, shape, dtype)
        known = self._opened.get(file)
        if known and known.kind == (shape, dtype):
            known.refresh()
            return known
        self._opened[file] = ObjectPart(file, shape, dtype)
        return self._opened[file]

    def _numbers(self, name: str) -> Iterator[str]:
        """The numbers of the processes other than 0 that have a part of `name`."""
        for note in self._folder.glob(f"{name}.array.*.json"):
            yield note.name.split(".")[-2]

    def _stamps_of(self, rows: int, videos: Videos | None) -> UInt64[np.ndarray, " N"]:
        """The marks that rows have if they are written; 0 is the mark of those that are not."""
        if self._stamps is None or videos is None:
            return np.ones(rows, MARK)
        return np.maximum(self._stamps[np.asarray(videos)], MARK.type(1))

    def note(self, name: str, value: Json) -> None:
        """Writes a JSON value under a name, atomically; each process has its own notes."""
        runtime.write_text(self._path(name), json.dumps(value, indent=1))

    def note_often(self, name: str, value: Json) -> None:
        """`note` for a value that changes with each batch, of which a kill may lose the latest."""
        now = time.monotonic()
        if now > self._noted.get(name, -math.inf) + objects.PERIOD:
            self._noted[name] = now
            self.note(name, value)

    def noted(self, name: str, kind: type[T]) -> T | None:
        """Reads the value noted under a name; None if there is none or, reported, no `kind`."""
        return self._read(self._path(name), kind, hosts.number())

    @staticmethod
    def _read(path: Place, kind: type[T], number: int) -> T | None:
        content = disk.read(path)
        if content is None:
            return None
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, kind):
            return value
        _forget(path, number)
        return None

    def _rows(self, name: str, number: int) -> Place:
        return self._folder / f"{name}{_suffix(number)}.rows"

    def _path(self, name: str, number: int | None = None) -> Place:
        number = hosts.number() if number is None else number
        return self._folder / f"{name}{_suffix(number)}.json"


def _suffix(number: int) -> str:
    return f".{number}" if number else ""


def _forget(note: Place, number: int) -> None:
    """Reports a damaged note, and deletes it, unless it is that of another process."""
    print(f"{note} is damaged; its numbers are computed again", file=sys.stderr)
    if number == hosts.number():
        note.unlink(missing_ok=True)
