"""Attention as cuDNN computes it, on a GPU in half precision: of neither sizes nor the entropy."""

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
    """softmax(scale q k') v for each head; "xla" does the same on any platform.

    JAX refuses the gradients of odd lengths: they are made even, and cuDNN is told the true ones.
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
