"""Measures how many videos per second a run encodes, also over resumed runs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tokmerge_jax.evaluation.store import Store

_NOTE = "encoded"


class Speed:
    """Times all batches of a process but the first, which includes compilation.

    The store keeps the numbers after every batch, so the batches of a killed process count too.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._first, self._begun = store, True, 0.0
        noted = store.noted(_NOTE, dict) or {}
        self._clips, self._seconds = noted.get("clips", 0), noted.get("seconds", 0.0)

    @contextmanager
    def __call__(self, clips: int) -> Iterator[None]:
        """Times the encoding of `clips` videos; the block must wait for its results."""
        self._begun = time.perf_counter()
        yield
        self.add(clips)

    def add(self, clips: int) -> None:
        """Adds `clips` videos that were encoded since the previous call."""
        now = time.perf_counter()
        if not self._first:
            self._clips += clips
            self._seconds += now - self._begun
            self._store.note(_NOTE, {"clips": self._clips, "seconds": self._seconds})
        self._first, self._begun = False, now

    @property
    def clips_per_second(self) -> float | None:
        """The mean speed of all processes; None if none had two batches."""
        return self._clips / self._seconds if self._clips else None
