"""The videos of an index by their IDs, which are all that requests can name."""

import dataclasses
import functools
import hashlib
import os
import pathlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from tokmerge_jax.own_videos import contents
from tokmerge_jax.own_videos.contents import Contents

_FOLDERS = 500  # that are listed
_FRESH = 1.0  # seconds until a change is looked for
_SHARE = 0.1  # of the time that goes into readings, at most

T = TypeVar("T")


def identify(path: str) -> str:
    """The ID of a video: a hash of its path."""
    return hashlib.blake2b(os.fsencode(path), digest_size=16).hexdigest()


@dataclasses.dataclass(frozen=True)
class Reading:
    """What an index holds at a time.

    Attributes:
      held: the same, as it was counted.
    """

    held: Contents

    @property
    def videos(self) -> int:
        """The number of videos that are completely indexed."""
        return self.held.complete

    @property
    def windows(self) -> int:
        """The number of windows that can be found."""
        return self.held.windows

    @property
    def broken(self) -> int:
        """The number of videos with an unreadable part."""
        return len(self.held.paths) - self.held.complete

    @functools.cached_property
    def folders(self) -> tuple[str, ...]:
        """The folders that hold videos, ascending; some of them if there are many."""
        return tuple(sorted(self.held.folders())[:_FOLDERS])

    @functools.cached_property
    def paths(self) -> Mapping[str, str]:
        """ID -> path of the videos; takes seconds for a million."""
        return {identify(path): path for path in map(os.fsdecode, self.held.paths.to_pylist())}


class Catalogue:
    """The videos of the index in a folder, read when first asked for, and again as it changes."""

    def __init__(self, place: pathlib.Path) -> None:
        """Takes the index's folder, of which nothing is read."""
        self._place, self._until = place, 0.0
        self._stamp: tuple[int, int] | None = None
        self._reading: Reading | None = None
        self._shown: dict[str, str] = {}  # videos of hits, which are looked for most
        self._lock = threading.Lock()

    def reading(self) -> Reading:
        """What the index holds, as of about now.

        Raises:
          UserError: if the index is damaged.
        """
        return self._asked(lambda reading: reading)

    def _asked(self, part: Callable[[Reading], T]) -> T:
        """A part of a reading, in at most `_SHARE` of the time."""
        with self._lock:
            begun = time.monotonic()
            if self._reading is None or begun >= self._until:
                self._reading = self._renewed(self._reading)
                self._until = begun + _FRESH
            answer, now = part(self._reading), time.monotonic()
            self._until = max(self._until, now + (now - begun) / _SHARE)
            return answer

    def _renewed(self, last: Reading | None) -> Reading:
        """The last reading, or a new one after a change."""
        stamp = _stamp(self._place)  # first: a later change is noticed next time
        if last is not None and stamp is not None and stamp == self._stamp:
            return last
        shown = dict(self._shown)
        held = contents.read(self._place)
        for name, known in zip(shown, held.known([*shown.values()]), strict=True):
            if not known:
                del self._shown[name]
        self._stamp = stamp
        return Reading(held)

    def name(self, path: str) -> str:
        """The ID of a hit's video."""
        name = identify(path)
        self._shown[name] = path
        return name

    def path(self, name: str) -> str | None:
        """The path of the video with this ID; None if there is none.

        Raises:
          UserError: if the index is damaged.
        """
        return self._shown.get(name) or self._asked(lambda reading: reading.paths).get(name)


def _stamp(place: pathlib.Path) -> tuple[int, int] | None:
    """What changes with each commit of the table, also if it is made anew; None if it is gone."""
    versions = place / "videos.lance" / "_versions"
    try:
        return versions.stat().st_mtime_ns, len(os.listdir(versions))
    except OSError:
        return None
