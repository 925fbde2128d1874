"""Computes results in worker processes, in order; a video that fails becomes a result too.

One bad file ends no job, and no worker outlives a killed parent. The processes are grain's.
"""

import dataclasses
import errno
import functools
import gc
import multiprocessing
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from absl import flags

from tokmerge_jax import disk
from tokmerge_jax.types import UserError

T = TypeVar("T")
R = TypeVar("R")

_LONGEST = 200  # characters of a library's message that are shown
_CURE = "; replace the file or leave it out"
_FEWER = ", or use fewer workers (config.data.workers)"

_WORKER_ERRORS = (RuntimeError, OSError, MemoryError)
"""Errors raised when a worker process itself fails, rather than the decoding of one video."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """The reason why a video cannot be used.

    Attributes:
      text: one sentence that names the video.
    """

    text: str


def attempt(make: Callable[[T], R], name: Callable[[T], str], item: T) -> R | Fault:
    """Returns `make(item)`, or the fault if it raises: the only place that makes faults.

    Args:
      make: for example, decodes a video.
      name: the name of an item's video, for errors that do not name it.
      item: the argument of `make`.

    Raises:
      disk.RefusedError: if no more files can be opened, which is not the video's fault.
    """
    try:
        return make(item)
    except Exception as error:  # at a damaged file, libraries raise anything, even MemoryError
        disk.raise_shortage(error)
        if isinstance(error, UserError):
            text, cause = str(error), error.__cause__
        else:
            said = " ".join(str(error).split())[:_LONGEST]
            what = f"{type(error).__name__}: {said}" if said else type(error).__name__
            text, cause = f"{name(item)}: cannot be decoded ({what}){_CURE}", error
        if cause is not None and disk.refusal(cause) == errno.ENOMEM:  # large videos need much
            text = text.removesuffix(_CURE) + _CURE + _FEWER
        return Fault(text)


def in_order(
    make: Callable[[T], R],
    items: Sequence[T],
    workers: int,
    name: Callable[[T], str] = str,
    ahead: int = 4,
) -> Iterator[R | Fault]:
    """Yields `make(item)` for each item, in order, computed ahead of time by worker processes.

    Where `make` raises, the result is a fault. If a worker dies (killed, or by a crash of the
    decoder), that is reported, a separate process repeats the item, and new workers continue after
    it; if that process dies too, the item's result is a fault.

    Args:
      make: computes the result of an item; picklable, as items and results are.
      items: the items, in order.
      workers: number of processes; 0 = compute each result in this process, on demand.
      name: the name of an item's video, for faults; picklable.
      ahead: number of results that wait in each worker's queue; their arrays lie in shared memory.

    Raises:
      UserError: if workers cannot run at all, or no more files can be opened.
    """
    attempted = functools.partial(attempt, make, name)
    if not workers:
        yield from map(attempted, items)
        return
    done = 0
    while done < len(items):
        try:
            for result in _made(attempted, items[done:], workers, ahead):
                yield result
                done += 1
        except _WORKER_ERRORS as error:
            yield _of_dead_worker(attempted, items[done], name(items[done]), workers, error)
            done += 1


def _of_dead_worker(
    make: Callable[[T], R], item: T, video: str, workers: int, error: Exception
) -> R | Fault:
    """Repeats the item at which a worker died, in a process of its own.

    Raises:
      UserError: as `_signal`.
    """
    fewer = f"use fewer workers than {workers} (config.data.workers, or workers of a preparation)"
    died = signal.strsignal(_signal(error, fewer))
    print(
        f"\na decoding worker died ({died}) at {video} or soon after; the others continue. If"
        f" memory or /dev/shm is short, {fewer}",
        file=sys.stderr,
    )
    try:
        (result,) = _made(make, [item], 1, 1)
    except _WORKER_ERRORS as again:
        _signal(again, fewer)
        return Fault(
            f"{video}: decoding it kills the process (a crash, or too little memory); replace the"
            " file or leave it out"
        )
    return result


def _signal(error: Exception, fewer: str) -> int:
    """The number of the signal that killed a worker.

    Raises:
      UserError: if no signal did; new workers would fail in the same way.
    """
    signalled = re.search(r"exit code -(\d+)", str(error))
    if signalled is None:
        said = " ".join(str(error).split())
        raise UserError(f"decoding workers cannot run ({said}); {fewer}, or none (0)") from error
    return int(signalled[1])


def _made(make: Callable[[T], R], items: Sequence[T], workers: int, ahead: int) -> Iterator[R]:
    """Yields results in order from grain's workers, which end with the iterator."""
    import grain  # takes a while, and nothing else of it is needed

    if not flags.FLAGS.is_parsed():  # grain reads absl's flags, which only absl programs parse
        flags.FLAGS.mark_as_parsed()
    options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=ahead)
    one_by_one = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    dataset = grain.MapDataset.source(items).map(make).to_iter_dataset(one_by_one)
    iterator = iter(dataset.mp_prefetch(options, follow_parent))
    try:
        yield from iterator
    finally:
        iterator.close()
        del iterator
        gc.collect()  # the exception that ended grain's thread still holds its last arrays


def end_with_parent(*_: int) -> None:
    """Ends this worker when its parent ends, however that happens; call it first in a worker.

    Without it, the workers of a killed run wait forever for their next task.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def follow_parent(*_: int) -> None:
    """Ends this worker with its parent and ignores signals; call it first in a worker.

    A terminal's Ctrl-C and a scheduler's SIGTERM reach all processes at once. A worker that they
    ended in the middle of a message would leave the parent waiting for the rest of it.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()
