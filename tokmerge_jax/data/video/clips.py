"""Decodes clips in worker processes and returns them in order (grain), for all loading."""

import dataclasses
import functools
import gc
import pathlib
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import grain
import numpy as np
from absl import flags
from jaxtyping import UInt8

from tokmerge_jax.config.common import ActionData, Data
from tokmerge_jax.data.sampling.frames import SAMPLERS, Sampler, by_intervals
from tokmerge_jax.data.sampling.segments import Segments
from tokmerge_jax.data.video.decode import open_video, read_chosen
from tokmerge_jax.data.video.faults import Fault, attempt
from tokmerge_jax.data.video.frame_folder import is_pattern
from tokmerge_jax.data.video.workers import follow_parent
from tokmerge_jax.types import UserError

T = TypeVar("T")
R = TypeVar("R")

_OF_A_WORKER = (RuntimeError, OSError, MemoryError)
"""Errors raised when a worker process itself fails, rather than the decoding of one video."""


@dataclasses.dataclass(frozen=True)
class Decoder:
    """Reads the sampled frames of the video at a path.

    Attributes:
      folder: the folder that relative paths start from.
      frames: T, number of frames requested from `choose`.
      seconds: length of the beginning to sample from, in seconds; 0 = the whole video.
      choose: selects the frame numbers; picklable.
      size: edge in pixels that FFmpeg scales frames to while decoding; 0 = no scaling.

    Raises:
      UserError: if `size` is below 0.
    """

    folder: str
    frames: int
    seconds: int | float
    choose: Sampler = by_intervals
    size: int = 0

    def __post_init__(self) -> None:
        if self.size < 0:
            raise UserError(f"config.data.decode_size={self.size} must be 0 or more")

    def name(self, path: str) -> str:
        """The full path, by which messages name a video."""
        return str(pathlib.Path(self.folder, path))

    def __call__(
        self, path: str, rng: np.random.Generator | None = None
    ) -> UInt8[np.ndarray, "T H W 3"]:
        """Returns the RGB frames that `choose` selects; `rng` is given in training.

        Raises:
          UserError: if the video is missing or cannot be decoded; the message names it.
        """
        choose = self.choose
        if isinstance(choose, Segments) and is_pattern(path):
            choose = choose.for_folders()
        with open_video(self.name(path), self.size) as video:
            return read_chosen(
                video, lambda n: choose(n, video.rate, self.frames, self.seconds, rng).tolist()
            )


def decoder(config: Data, frames: int, folder: str) -> Decoder:
    """Builds the decoder that the `data` part of a configuration describes.

    Args:
      config: the `data` part.
      frames: T, number of frames.
      folder: the folder that relative paths start from.

    Raises:
      UserError: if its sampling is unknown or one of its numbers is out of range.
    """
    if isinstance(config, ActionData):
        sampler = Segments(config.sampling, config.clips, config.neighbours, config.wrap)
    elif config.sampling in SAMPLERS:
        sampler = SAMPLERS[config.sampling]
    else:
        raise UserError(
            f"config.data.sampling={config.sampling!r} is unknown; known: {', '.join(SAMPLERS)}"
        )
    return Decoder(folder, frames, config.trim_seconds, sampler, config.decode_size)


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
        except _OF_A_WORKER as error:
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
    except _OF_A_WORKER as again:
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
