"""The demo's moves: clips of one or two events of `scene`, each with the number of its movements.

Clips come in groups of four in which only movement differs, two kinds of groups in turn: one event
in the four directions, and two events with other directions or in reverse order. So a batch of
whole groups (`config.train.together=4`) asks for the movement and for nothing else.
"""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

from tokmerge_jax.data.datasets import demo
from tokmerge_jax.data.datasets.demo import scene
from tokmerge_jax.data.datasets.demo.scene import DIRECTIONS, EVENTS, Event

COUNTS: Mapping[str, int] = {"train": 3200, "val": 80, "test": 240}
"""Number of clips per split, half of them of one event."""

GROUP = 4
"""Number of neighbouring clips in which only movement differs."""

Story = tuple[Event, ...]

_WAYS = [way for n in (1, 2) for way in itertools.product(DIRECTIONS, repeat=n)]

NAMES: tuple[str, ...] = tuple(f"moves {', then '.join(way)}" for way in _WAYS)
"""Names of the actions by number: 4 of one movement, 16 of two."""

_MIRRORED_WAY = {"left": "right", "right": "left"}

MIRRORED: Mapping[int, int] = {
    number: _WAYS.index(tuple(_MIRRORED_WAY.get(direction, direction) for direction in way))
    for number, way in enumerate(_WAYS)
}
"""Action -> action of its mirror image."""

_SEED = 5


def prepare(folder: str, splits: Sequence[str], workers: int) -> None:
    """Draws the clips of `splits` and stores "demo_moves"; arguments as in `demo.prepare`."""
    shown = {
        split: [
            demo.Shown(story, action(story), len(story) * scene.EVENT_FRAMES)
            for story in stories(split)
        ]
        for split in splits
    }
    demo.prepare_actions(folder, "demo_moves", shown, NAMES, workers, draw)


def action(story: Story) -> int:
    """The number of the movements of a story."""
    return _WAYS.index(tuple(event.direction for event in story))


@functools.cache
def stories(split: str) -> tuple[Story, ...]:
    """The story of each clip of a split; none is a story of the retrieval demo's test."""
    groups = range(COUNTS[split] // GROUP)
    return tuple(story for number in groups for story in _group(demo.SEEDS[split], number))


def _group(split: int, number: int) -> Sequence[Story]:
    """Stories in which only movement differs: of one event in even groups, of two in odd ones."""
    seed = (_SEED, split, number)
    if number % 2:
        return scene.twins(seed, frozenset(demo.stories("test")))
    event = EVENTS[np.random.default_rng(seed).integers(len(EVENTS))]
    return [(dataclasses.replace(event, direction=direction),) for direction in DIRECTIONS]


def draw(story: Story, seed: tuple[int, int]) -> UInt8[np.ndarray, "T H W 3"]:
    """Draws one clip; `seed` is (seed of the split, number of the clip)."""
    split, number = seed
    return scene.draw(story, (_SEED, split, number // GROUP))
