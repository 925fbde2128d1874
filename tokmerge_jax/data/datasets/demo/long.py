"""The demo's long clips: four events each, with one sentence per event, in every order.

There are only six events, and any four of them appear in all 24 orders. So neither a frame nor an
event identifies the clip that a paragraph describes. Splits share no order. Two of the events are
short: who looks at every fourth frame misses some.
"""

import functools
import itertools
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

from tokmerge_jax import disk
from tokmerge_jax.data.datasets import demo
from tokmerge_jax.data.datasets.demo import scene
from tokmerge_jax.data.datasets.demo.scene import Event
from tokmerge_jax.data.datasets.video_text import AnyRecord, Record

COUNTS: Mapping[str, int] = {"train": 2880, "val": 60, "test": 120}
"""Number of clips per split; in training, 16 per story."""

EVENTS = (
    Event("large", "red", "circle", "left"),
    Event("small", "green", "square", "right"),
    Event("large", "blue", "triangle", "up"),
    Event("small", "yellow", "cross", "down"),
    Event("small", "purple", "circle", "up"),
    Event("large", "white", "square", "down"),
)
"""All events; a clip shows four of them."""

FRAMES = 32
"""Number of frames per clip."""

_LONG = 4  # number of events per clip
_ORDERS = {"train": slice(12), "val": slice(12, 16), "test": slice(16, 24)}  # of the same events
_SEED = 4

Story = tuple[Event, ...]


def prepare(folder: str, splits: Sequence[str], workers: int) -> None:
    """Draws the clips of `splits` and stores "demo_long"; arguments as in `demo.prepare`."""
    contents = {split: stories(split) for split in splits}
    records: dict[str, list[AnyRecord]] = {
        split: [
            Record((demo.clip("demo_long", split, number),), tuple(map(str, story)))
            for number, story in enumerate(contents[split])
        ]
        for split in splits
    }
    with disk.held(pathlib.Path(folder), "demo_long.lock"):
        demo.draw_clips(folder, "demo_long", contents, workers, draw)
        demo.store(folder, "demo_long", records)


@functools.cache
def stories(split: str) -> tuple[Story, ...]:
    """The story of each clip of a split; stories repeat where there are fewer than clips."""
    rng = np.random.default_rng(_SEED)
    stories_in_order = []
    for events in itertools.combinations(EVENTS, _LONG):
        orders = list(itertools.permutations(events))
        stories_in_order += [orders[i] for i in rng.permutation(len(orders))[_ORDERS[split]]]
    return tuple(itertools.islice(itertools.cycle(stories_in_order), COUNTS[split]))


def draw(story: Story, seed: tuple[int, ...]) -> UInt8[np.ndarray, "T H W 3"]:
    """Draws the RGB clip of a story; all else follows from `seed`."""
    return scene.draw(story, seed, lengths(seed))


def lengths(seed: tuple[int, ...]) -> list[int]:
    """Draws the number of frames of each event: two have 2 or 3, the others share the rest."""
    rng = np.random.default_rng([*seed, _SEED])
    short = rng.integers(2, 3, size=2, endpoint=True)
    rest = FRAMES - short.sum()
    one = rest // 2 + rng.integers(-3, 3, endpoint=True)
    return rng.permutation([*short, one, rest - one]).tolist()
