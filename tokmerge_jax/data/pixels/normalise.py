"""Normalises frames on the device."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from tokmerge_jax.config import Config


def normalise(video: ArrayLike, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    """uint8 frames [B,T,H,W,3] -> normalised float32; float input is returned unchanged."""
    video = jnp.asarray(video)
    if video.dtype != jnp.uint8:
        return video
    shift, scale = (np.asarray(x, np.float32).reshape(1, 1, 1, 1, 3) for x in (mean, std))
    return (video.astype(jnp.float32) / 255 - shift) / scale


def example(config: Config) -> jax.Array:
    """A clip [1,T,S,S,3] of zeros, to initialise parameters with."""
    vision = config.model.vision
    return jnp.zeros((1, vision.frames, vision.image_size, vision.image_size, 3))
