"""Clips in order, decoded by worker processes: the grain pipeline under both kinds of loading."""

import dataclasses
import gc
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import grain
import numpy as np
from absl import flags
from jaxtyping import UInt8
from ml_collections import ConfigDict

from tokmerge_jax.data.frame_folder import is_pattern
from tokmerge_jax.data.frames import SAMPLERS, Sampler, by_intervals
from tokmerge_jax.data.segments import Segments
from tokmerge_jax.data.video import open_video, read_chosen
from tokmerge_jax.data.workers import follow_parent
from tokmerge_jax.types import UserError


@dataclasses.dataclass(frozen=True)
class Decoder:
    """A video's path -> the frames that are looked at.

    Attributes:
      folder: what relative paths are relative to.
      frames: T, which `choose` is asked for.
      seconds: look at the first seconds only; 0 = all.
      choose: which frames; picklable.
      size: the edge that FFmpeg scales frames to while it decodes them; 0 = none.

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

    def __call__(
        self, path: str, rng: np.random.Generator | None = None
    ) -> UInt8[np.ndarray, "T H W 3"]:
        """RGB frames, as many as `choose` says for T; `rng` is given in training.

        Raises:
          UserError: naming the video, if it is missing or cannot be decoded.
        """
        choose = self.choose
        if isinstance(choose, Segments) and is_pattern(path):
            choose = choose.for_folders()
        with open_video(pathlib.Path(self.folder, path), self.size) as video:
            return read_chosen(
                video, lambda n: choose(n, video.rate, self.frames, self.seconds, rng).tolist()
            )


def decoder(config: ConfigDict, frames: int, folder: str) -> Decoder:
    """The decoder that the `data` part of a configuration describes.

    Args:
      config: the `data` part.
      frames: T.
      folder: what paths are relative to.

    Raises:
      UserError: if its sampling is unknown, or one of its numbers cannot be.
    """
    size = config.get("decode_size", 0)  # only of systems whose original has FFmpeg scale frames
    return Decoder(folder, frames, config.trim_seconds, _sampler(config), size)


def _sampler(config: ConfigDict) -> Sampler:
    """The rule that `config.sampling` names; configurations with neighbours are of actions."""
    if "neighbours" in config:
        return Segments(config.sampling, config.clips, config.neighbours, config.wrap)
    if config.sampling not in SAMPLERS:
        raise UserError(
            f"config.data.sampling={config.sampling!r} is unknown; known: {', '.join(SAMPLERS)}"
        )
    return SAMPLERS[config.sampling]


def in_order(
    make: Callable[[int], Any], start: int, stop: int, workers: int, ahead: int = 4
) -> Iterator[Any]:
    """`make(i)` for i from `start` to `stop`, in order, made ahead of time by worker processes.

    `make` must be picklable; an error that it raises is raised here. With `workers` = 0 this
    process makes each when it is asked for. So many as `ahead` wait for this process in each
    worker's queue; their arrays lie in shared memory.
    """
    if start >= stop:
        return
    dataset = grain.MapDataset.range(start, stop).map(make)
    if not workers:
        yield from (dataset[i] for i in range(len(dataset)))
        return
    if not flags.FLAGS.is_parsed():  # grain reads absl's flags, which only absl programs parse
        flags.FLAGS.mark_as_parsed()
    options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=ahead)
    one_by_one = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    iterator = iter(dataset.to_iter_dataset(one_by_one).mp_prefetch(options, follow_parent))
    try:
        yield from iterator
    finally:
        iterator.close()
        del iterator
        gc.collect()  # the exception that ended a thread of grain's keeps its last arrays
