"""Embeddings as directions."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def unit(x: Float[Array, "*any E"]) -> Float[Array, "*any E"]:
    """Vectors of unit norm (float32), without an epsilon: a zero vector becomes NaN."""
    x = x.astype(jnp.float32)
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)
