"""Parameters, and random clips, texts and answers, for the cases of `stages.py`."""

from collections.abc import Sequence

import jax
import numpy as np

from benchmarks.cases import Inputs, Sizes
from tokmerge_jax import checkpoints
from tokmerge_jax.config import expect
from tokmerge_jax.config.common import ActionModel, TextData, TextModel
from tokmerge_jax.system import System
from tokmerge_jax.tasks.synthetic import frames_shape, random_weights
from tokmerge_jax.types import Params, UserError

ANSWER_LENGTH = 5
"""Number of positions of an answer: start, up to three pieces, end."""


def weights(system: System) -> Params:
    """The checkpoint's parameters, or random ones, on the device."""
    if system.config.checkpoint:
        return jax.device_put(checkpoints.load_checkpoint(system.config.checkpoint, system))
    return random_weights(system)


def make_inputs(system: System, stages: Sequence[str], sizes: Sizes) -> Inputs:
    """Makes random inputs: videos to encode and to train with, and texts if the system reads them.

    With texts come the inputs of re-ranking (a video's tokens, the texts' states) and answers. The
    gallery's videos, which are large, are made only for the stage that reads them.

    Raises:
      UserError: if there are fewer texts than clips to train with.
    """
    batch = sizes.train_clips
    if "train" in stages and isinstance(system.config.model, TextModel) and batch > sizes.gallery:
        raise UserError(
            f"--train_clips={batch} is more than the {sizes.gallery} texts; raise --gallery"
        )
    rng = np.random.default_rng(system.config.seed)
    shape = frames_shape(system)
    inputs = {
        "video": rng.standard_normal((max(sizes.clips), *shape), np.float32),
        "videos": rng.standard_normal((batch, *shape), np.float32),
    }
    if "evaluation" in stages:
        inputs["gallery"] = rng.standard_normal((sizes.gallery, *shape), np.float32)
    if isinstance(system.config.model, TextModel):
        return {**inputs, **_text_inputs(system, sizes, rng)}
    classes = expect(system.config.model, ActionModel).classes
    return {**inputs, "label": rng.integers(classes, size=batch)}


def _text_inputs(system: System, sizes: Sizes, rng: np.random.Generator) -> Inputs:
    vision, words = system.config.model.vision, expect(system.config.model, TextModel).text
    count, length = sizes.gallery, expect(system.config.data, TextData).max_text_length
    tokens = system.merging.cost[-1].tokens_out
    return {
        "text_ids": rng.integers(1, words.vocab_size, (count, length), dtype=np.int32),
        "text_mask": np.ones((count, length), bool),
        "states": rng.standard_normal((count, length, words.width), np.float32),
        "tokens": rng.standard_normal((1, tokens, vision.width), np.float32),
        "answer_ids": _answer_list(rng, sizes.answers, words.vocab_size),
    }


def _answer_list(rng: np.random.Generator, count: int, vocab_size: int) -> np.ndarray:
    """Random answers, start and end included: 70 % of one piece, 20 % of two, 10 % of three."""
    length = ANSWER_LENGTH
    pieces = rng.choice([1, 2, 3], count, p=[0.7, 0.2, 0.1])[:, None]
    place = np.arange(length)[None]
    ids = rng.integers(5, vocab_size, (count, length))
    ids = np.where(
        place == 0, 1, np.where(place <= pieces, ids, np.where(place == pieces + 1, 2, 0))
    )
    return ids.astype(np.int32)
