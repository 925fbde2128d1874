"""The demo's actions: clips of `motion` as H.264 files, each with the number of its action.

Every scene is shown forwards and backwards, as clips 2 n and 2 n + 1 of a split, with an action and
its partner. A model that ignores the order of time can at best recognise the pair.
"""

import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

from tokmerge_jax import disk, runtime
from tokmerge_jax.data.datasets import demo, video_text
from tokmerge_jax.data.datasets.demo import motion
from tokmerge_jax.data.datasets.demo.motion import NAMES
from tokmerge_jax.data.datasets.video_text import Action, AnyRecord

COUNTS: Mapping[str, int] = {"train": 3000, "val": 60, "test": 200}
"""Number of clips per split, equally many of each action."""


def prepare(folder: str, splits: Sequence[str], workers: int) -> None:
    """Draws the clips of `splits` and stores "demo_actions"; arguments as in `demo.prepare`."""
    actions = {split: labels(split) for split in splits}
    records: dict[str, list[AnyRecord]] = {
        split: [
            Action((demo.clip("demo_actions", split, number),), label, motion.FRAMES)
            for number, label in enumerate(actions[split])
        ]
        for split in splits
    }
    with disk.held(pathlib.Path(folder), "demo_actions.lock"):
        demo.draw_clips(folder, "demo_actions", actions, workers, draw)
        demo.store(folder, "demo_actions", records)
        names = video_text.labels_path(folder, "demo_actions")
        runtime.write_text(names, json.dumps(NAMES, indent=0))


def labels(split: str) -> tuple[int, ...]:
    """The action of each clip of a split."""
    return tuple(number % len(NAMES) for number in range(COUNTS[split]))


def draw(action: int, seed: tuple[int, int]) -> UInt8[np.ndarray, "T H W 3"]:
    """Draws one clip; `seed` is (seed of the split, number of the clip)."""
    split, number = seed
    return motion.draw(action, (split, number // 2))
