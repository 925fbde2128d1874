"""The videos of an index by their IDs, which are all that requests can name."""

import dataclasses
import hashlib
import os
import pathlib
import threading
import time
from collections.abc import Mapping

from tokmerge_jax.own_videos import index

_FOLDERS = 500  # that are listed
_FRESH = 1.0  # seconds until a change is looked for
_SHARE = 0.1  # of the time that goes into readings, at most


def identify(path: str) -> str:
    """The ID of a video: a hash of its path."""
    return hashlib.blake2b(os.fsencode(path), digest_size=16).hexdigest()


@dataclasses.dataclass(frozen=True)
class Reading:
    """What an index holds at a time.

    Attributes:
      paths: ID -> path of the videos.
      videos: number of videos that are completely indexed.
      windows: number of windows that can be found.
      broken: number of videos with an unreadable part.
      folders: folders that hold videos, ascending; some of them if there are many.
    """

    paths: Mapping[str, str]
    videos: int
    windows: int
    broken: int
    folders: tuple[str, ...]


class Catalogue:
    """The videos of the index in a folder, read again as it changes."""

    def __init__(self, place: pathlib.Path) -> None:
        """Takes the index's folder."""
        self._place, self._until = place, 0.0
        self._stamp, self._reading = _stamp(place), _read(place)
        self._newer: dict[str, str] = {}  # videos of hits that `_reading` lacks
        self._lock = threading.Lock()

    def reading(self) -> Reading:
        """What the index holds, as of about now.

        Raises:
          UserError: if the index is damaged.
        """
        with self._lock:
            begun = time.monotonic()
            if begun >= self._until:
                self._renew()
                now = time.monotonic()
                self._until = now + max(_FRESH, (now - begun) / _SHARE)
            return self._reading

    def _renew(self) -> None:
        stamp = _stamp(self._place)  # first: a later change is noticed next time
        if stamp is None or stamp != self._stamp:
            self._stamp, self._reading = stamp, _read(self._place)
            self._newer.clear()

    def name(self, path: str) -> str:
        """The ID of a hit's video."""
        name = identify(path)
        if name not in self._reading.paths:
            self._newer[name] = path
        return name

    def path(self, name: str) -> str | None:
        """The path of the video with this ID; None if there is none.

        Raises:
          UserError: if the index is damaged.
        """
        known = self._reading.paths.get(name) or self._newer.get(name)
        return known or self.reading().paths.get(name)


def _stamp(place: pathlib.Path) -> tuple[int, int] | None:
    """What changes with each commit of the table, also if it is made anew; None if it is gone."""
    versions = place / "videos.lance" / "_versions"
    try:
        return versions.stat().st_mtime_ns, len(os.listdir(versions))
    except OSError:
        return None


def _read(place: pathlib.Path) -> Reading:
    entries = index.entries(place)
    broken = sum(1 for entry in entries.values() if entry.fault)
    holding = {os.path.dirname(path) for path in entries}
    folders = {str(each) for name in holding for each in pathlib.PurePath(name, "file").parents}
    return Reading(
        {identify(path): path for path in entries},
        len(entries) - broken,
        index.count_windows(place),
        broken,
        tuple(sorted(folders - {"."})[:_FOLDERS]),
    )
