"""Attention by cuDNN, on a GPU in half precision, without token sizes or entropy."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def attention(
    query: Float[Array, "B N K D"],
    key: Float[Array, "B M K D"],
    value: Float[Array, "B M K D"],
    *,
    scale: float,
    implementation: Literal["cudnn", "xla"] = "cudnn",
) -> Float[Array, "B N K D"]:
    """Computes softmax(scale q k') v for each head; "xla" does the same on any platform.

    JAX has no gradient for odd lengths: they are padded to even ones, and cuDNN receives the true
    lengths.
    """
    batch, rows, keys = len(query), query.shape[1], key.shape[1]
    odd = rows % 2 or keys % 2
    query, key, value = (
        jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0))) for x in (query, key, value)
    )
    out = jax.nn.dot_product_attention(
        query,
        key,
        value,
        scale=scale,
        query_seq_lengths=jnp.full(batch, rows, jnp.int32) if odd else None,
        key_value_seq_lengths=jnp.full(batch, keys, jnp.int32) if odd else None,
        implementation=implementation,
    )
    return out[:, :rows]
