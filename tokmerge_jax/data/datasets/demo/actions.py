"""The demo's actions: clips of `motion` as H.264 files, each with the number of its action.

Every scene is shown forwards and backwards, as clips 2 n and 2 n + 1 of a split, with an action and
its partner. A model that ignores the order of time can at best recognise the pair.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

from tokmerge_jax.data.datasets import demo
from tokmerge_jax.data.datasets.demo import motion
from tokmerge_jax.data.datasets.demo.motion import NAMES

COUNTS: Mapping[str, int] = {"train": 3000, "val": 60, "test": 200}
"""Number of clips per split, equally many of each action."""


def prepare(folder: str, splits: Sequence[str], workers: int) -> None:
    """Draws the clips of `splits` and stores "demo_actions"; arguments as in `demo.prepare`."""
    shown = {
        split: [demo.Shown(label, label, motion.FRAMES) for label in labels(split)]
        for split in splits
    }
    demo.prepare_actions(folder, "demo_actions", shown, NAMES, workers, draw)


def labels(split: str) -> tuple[int, ...]:
    """The action of each clip of a split."""
    return tuple(number % len(NAMES) for number in range(COUNTS[split]))


def draw(action: int, seed: tuple[int, int]) -> UInt8[np.ndarray, "T H W 3"]:
    """Draws one clip; `seed` is (seed of the split, number of the clip)."""
    split, number = seed
    return motion.draw(action, (split, number // 2))
