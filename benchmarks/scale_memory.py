"""Measures the seconds and the memory of a job in this process, by what Linux says of it."""

import ctypes
import gc
import pathlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import TypedDict

from tokmerge_jax.types import UserError

_STATUS, _RESET = pathlib.Path("/proc/self/status"), pathlib.Path("/proc/self/clear_refs")
_PEAK = "5"  # written to `_RESET`: the peak of resident memory begins again
_PAUSE = 0.01  # seconds between two looks


class Measured(TypedDict):
    """What a job took.

    Attributes:
      seconds: of wall time.
      cpu_seconds: of all threads.
      held: bytes of the process's own memory before the job; nothing that could be given back.
      over: the most bytes of its own that it held beside them. Pages of mapped files, which the
        system may drop, are left out.
      peak: the most bytes that were resident, pages of mapped files included.
    """

    seconds: float
    cpu_seconds: float
    held: int
    over: int
    peak: int


def measured(job: Callable[[], object]) -> Measured:
    """Runs a job once and measures it; errors as `Watch`."""
    watch = Watch()
    job()
    return watch.end()


class Watch:
    """Measures from its making to `end`."""

    def __init__(self, held: int | None = None) -> None:
        """Begins; `held` is what the process held before the job, if not what it holds now.

        Raises:
          UserError: if the system does not say how much memory a process holds.
        """
        give_back()
        self._looks, self._ended = [_status()], threading.Event()
        self._held = own() if held is None else held
        self._looking = threading.Thread(target=self._look, daemon=True)
        self._looking.start()
        self._begun, self._worked = time.perf_counter(), time.process_time()

    def _look(self) -> None:
        """Looks at the memory until the end."""
        while not self._ended.wait(_PAUSE):
            self._looks.append(_status())

    def end(self) -> Measured:
        """What the time since the beginning took."""
        seconds, cpu = time.perf_counter() - self._begun, time.process_time() - self._worked
        self._ended.set()
        self._looking.join()
        after = _status()
        looks = [*self._looks, after]
        mapped = max(look["RssFile"] + look["RssShmem"] for look in looks)
        most = max(after["VmHWM"] - mapped, *(look["RssAnon"] for look in looks))
        return {
            "seconds": seconds,
            "cpu_seconds": cpu,
            "held": self._held,
            "over": most - self._held,
            "peak": after["VmHWM"],
        }


def own() -> int:
    """The bytes of memory that this process holds itself."""
    return _status()["RssAnon"]


def _status() -> Mapping[str, int]:
    """The bytes of each kind of memory of this process."""
    lines = (line.split() for line in _STATUS.read_text().splitlines())
    return {line[0].rstrip(":"): 1024 * int(line[1]) for line in lines if line[-1] == "kB"}


def give_back() -> None:
    """Gives freed memory back to the system, and lets the peak of resident memory begin again."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        _RESET.write_text(_PEAK)
    except (OSError, AttributeError) as error:
        raise UserError(
            f"memory is measured by glibc and /proc ({error}); run this on Linux"
        ) from error
