"""Rotary positions of two dimensions: queries and keys turn with a token's column and row.

Source: RoFormer (arXiv 2104.09864), on two axes as in Perception Encoder (arXiv 2504.13181).
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_BASE = 10_000


def rotation(position: Float[Array, "B N 2"], width: int) -> Callable[[jax.Array], jax.Array]:
    """Returns the function that rotates queries or keys [B,N,K,width] by tokens' positions."""
    angle = angles(position, width)
    return partial(rotated, cosine=jnp.cos(angle), sine=jnp.sin(angle))


def angles(position: Float[Array, "B N 2"], width: int) -> Float[Array, "B N pairs"]:
    """The angle of each pair of a head's channels: the first half by columns, the rest by rows.

    The frequency of pair j of an axis is 10000^(-4 j / width).

    Args:
      position: column and row of each token, whole or not; float32, since half precision would be
        wrong by a quarter of a radian.
      width: D, number of channels of a head, a multiple of 4.
    """
    frequency = _BASE ** (-4 * np.arange(width // 4) / width)
    turned = position[..., None] * frequency.astype(np.float32)[None, None, None]
    return turned.reshape(*position.shape[:2], width // 2)


def rotated(
    x: Float[Array, "B N K D"], cosine: Float[Array, "B N pairs"], sine: Float[Array, "B N pairs"]
) -> Float[Array, "B N K D"]:
    """Rotates neighbouring channels (2 i, 2 i + 1) by angle i, in float32; returns x's type."""
    cosine, sine = cosine[:, :, None], sine[:, :, None]
    pairs = x.astype(jnp.float32).reshape(*x.shape[:-1], -1, 2)
    first, second = pairs[..., 0], pairs[..., 1]
    turned = jnp.stack([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
    return turned.reshape(x.shape).astype(x.dtype)
