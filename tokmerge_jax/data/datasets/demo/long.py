"""The demo's long clips: four events each, a sentence for every event, in every order.

Six events are all that ever happens, so that the same four are told in 24 orders: neither a frame
nor an event tells which clip a paragraph means. Each split has orders of its own.
"""

import functools
import itertools
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from tokmerge_jax import disk
from tokmerge_jax.data.datasets import demo
from tokmerge_jax.data.datasets.demo.scene import Event
from tokmerge_jax.data.datasets.video_text import AnyRecord, Record

COUNTS: Mapping[str, int] = {"train": 2880, "val": 60, "test": 120}
"""Clips of each split; in training, each story has 16."""

EVENTS = (
    Event("large", "red", "circle", "left"),
    Event("small", "green", "square", "right"),
    Event("large", "blue", "triangle", "up"),
    Event("small", "yellow", "cross", "down"),
    Event("small", "purple", "circle", "up"),
    Event("large", "white", "square", "down"),
)
"""What happens; a clip shows four of these."""

_LONG = 4  # events of a clip
_ORDERS = {"train": slice(12), "val": slice(12, 16), "test": slice(16, 24)}  # of the same events
_SEED = 4

Story = tuple[Event, ...]


def prepare(folder: str, splits: Sequence[str], workers: int) -> None:
    """Draws the clips of `splits` and stores "demo_long"; arguments as in `demo.prepare`."""
    told = {split: stories(split) for split in splits}
    with disk.held(pathlib.Path(folder), "demo_long.lock"):
        demo.draw_clips(folder, "demo_long", told, workers)
        demo.store(folder, "demo_long", {split: _records(split, told[split]) for split in splits})


@functools.cache
def stories(split: str) -> tuple[Story, ...]:
    """What happens in each clip of a split; one that has more clips than stories repeats them."""
    rng = np.random.default_rng(_SEED)
    told = []
    for events in itertools.combinations(EVENTS, _LONG):
        orders = list(itertools.permutations(events))
        told += [orders[i] for i in rng.permutation(len(orders))[_ORDERS[split]]]
    return tuple(itertools.islice(itertools.cycle(told), COUNTS[split]))


def _records(split: str, told: Sequence[Story]) -> list[AnyRecord]:
    return [
        Record((demo.clip("demo_long", split, number),), tuple(map(str, story)))
        for number, story in enumerate(told)
    ]
