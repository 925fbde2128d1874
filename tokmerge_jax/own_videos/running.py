"""Progress of a run that indexes, in a small file of the index, which a server reads."""

import contextlib
import json
import os
import pathlib
import socket
import time
from typing import TypedDict

from tokmerge_jax import hosts, runtime
from tokmerge_jax.progress import Progress
from tokmerge_jax.types import Json

_FILE = "progress.json"
_PAUSE = 0.5  # seconds between writings
_STALE = 10.0  # seconds after which a run on another host is taken to have ended


class State(TypedDict):
    """How far a run is.

    Attributes:
      done: number of videos that are indexed.
      total: number of videos.
      seconds_left: estimate of the time left; None before the first video.
    """

    done: int
    total: int
    seconds_left: float | None


class Running(Progress):
    """Progress that is also written to the index's folder, by process 0, until the run ends."""

    def __init__(self, folder: pathlib.Path, total: int, *, done: int) -> None:
        """Shows the start of the run; `total` and `done` as for `Progress`."""
        self._file, self._total, self._first, self._now = folder / _FILE, total, done, done
        self._begun, self._written = time.monotonic(), 0.0
        super().__init__("indexing videos", total, "video", done=done, compiles=True)
        self._write()

    def update(self, n: int | float | None = 1) -> bool | None:
        """Counts `n` more videos."""
        self._now += int(n or 0)
        if time.monotonic() >= self._written + _PAUSE:
            self._write()
        return super().update(n)

    def close(self) -> None:
        """Ends the progress."""
        super().close()
        if not hosts.number():
            self._file.unlink(missing_ok=True)

    def _write(self) -> None:
        if hosts.number():
            return
        self._written = time.monotonic()
        new, left = self._now - self._first, self._total - self._now
        seconds = round((self._written - self._begun) / new * left, 1) if new else None
        state = State(done=self._now, total=self._total, seconds_left=seconds)
        writer = {"process": os.getpid(), "host": socket.gethostname()}
        runtime.write_text(self._file, json.dumps({**state, **writer}))


def read(folder: pathlib.Path) -> State | None:
    """Reads how far the run is that indexes into `folder`; None if there is none."""
    file = folder / _FILE
    try:
        known, age = json.loads(file.read_bytes()), time.time() - file.stat().st_mtime
    except (OSError, ValueError, RecursionError):
        return None
    match known:
        case {"done": int(done), "total": int(total), "seconds_left": float() | None as left}:
            if _is_alive(known, age):
                return State(done=done, total=total, seconds_left=left)
    return None


def _is_alive(known: Json, age: float) -> bool:
    """Whether the writer of a file of this age runs."""
    process = known.get("process")
    if known.get("host") != socket.gethostname() or not isinstance(process, int) or process < 1:
        return age < _STALE
    with contextlib.suppress(ProcessLookupError, OverflowError):
        with contextlib.suppress(PermissionError):  # of another user
            os.kill(process, 0)
        return True
    return False
