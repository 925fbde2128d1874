"""A small UMT for action recognition."""

from typing import cast

import jax
import numpy as np

import tokmerge_jax
from tokmerge_jax.config import umt
from tokmerge_jax.signatures import Loss
from tokmerge_jax.system import System
from tokmerge_jax.types import Params

VISION = umt.Vision(width=32, depth=3, heads=2, image_size=32, patch_size=8, frames=4)


def config_of(**changes) -> umt.Recognition:
    """The configuration; dots in keys are written as two underscores."""
    config = umt.Recognition(
        dtype="float32",
        model=umt.RecognitionModel(vision=VISION, classes=5, merger=umt.Merger(r=(10, 4))),
        data=umt.ActionData(dataset="demo_actions", clips=2, crops=1, scale=40),
        train=umt.RecognitionTraining(remat=False),
    )
    return config.override({key.replace("__", "."): value for key, value in changes.items()})


def system_of(config: umt.Recognition) -> tuple[System, Params]:
    """The system and parameters of which none is 0."""
    system = tokmerge_jax.build(config)
    rng = np.random.default_rng(1)
    params = jax.tree.map(
        lambda leaf: 0.2 * rng.standard_normal(leaf.shape, np.float32) + (leaf.ndim == 1),
        system.weights.shapes,
    )
    return system, params


def video_of(views: int = 1, rows: int = 2) -> np.ndarray:
    """Frames of `views` views in a row."""
    shape = (rows, 4 * views, 32, 32, 3)
    return np.random.default_rng(2).integers(256, size=shape, dtype=np.uint8)


def loss_of(system: System) -> Loss:
    """The loss, which has no state."""
    assert system.training
    return cast(Loss, system.training.loss)


def normed(x: np.ndarray, scale: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """LayerNorm over the last axis, with epsilon 1e-6."""
    x = x - x.mean(axis=-1, keepdims=True)
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6) * scale + bias
