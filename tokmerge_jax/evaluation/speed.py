"""How many videos a second a run encodes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tokmerge_jax.evaluation.store import Store

_NOTE = "clips_per_second"


class Speed:
    """Times batches after the first one, whose time goes into compiling; the store keeps it."""

    def __init__(self, store: Store) -> None:
        self._store, self._clips, self._seconds, self._first = store, 0, 0.0, True

    @contextmanager
    def __call__(self, clips: int) -> Iterator[None]:
        """Times the encoding of `clips` videos; the block must wait for its results."""
        begun = time.perf_counter()
        yield
        if not self._first:
            self._clips += clips
            self._seconds += time.perf_counter() - begun
        self._first = False

    @property
    def clips_per_second(self) -> float | None:
        """Of this sitting, or of an earlier one; None if no sitting had two batches."""
        if self._clips:
            self._store.note(_NOTE, self._clips / self._seconds)
        return self._store.noted(_NOTE, float)
