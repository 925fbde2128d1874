"""The attention that each token receives: column sums of the head-averaged map."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from tokmerge_jax.kernels.capping import capped


def received(
    query: Float[Array, "B N K D"], key: Float[Array, "B N K D"], *, scale: float, cap: float = 0.0
) -> Float[Array, "B N"]:
    """Computes sum_{i != j} a_ij in float32, where a is the mean over heads of softmax(scale q k').

    Logits are capped as in `kernels.attention`. Only one head's map is in memory at a time. No
    gradient passes through the result.
    """
    others = 1 - jnp.eye(query.shape[1], dtype=jnp.float32)[None]
    return _sums(query, key, jnp.float32(0), others, scale, cap)


def attended(
    query: Float[Array, "B N K D"],
    key: Float[Array, "B N K D"],
    weight: Float[Array, "B N"] | None = None,
    *,
    scale: float,
    cap: float = 0.0,
) -> Float[Array, "B N"]:
    """Computes the mean over i of a_ij in float32, where a is the mean map of weighted attention.

    a is the mean over heads of softmax(scale q k' + log weight). One head's map is in memory at a
    time. No gradient passes through the result.

    Args:
      query: the queries of all tokens.
      key: their keys.
      weight: weight of each key, for example its size; None = 1.
      scale: factor of the products.
      cap: see `kernels.attention`.
    """
    bias = jnp.float32(0) if weight is None else jnp.log(weight)[:, None]
    return _sums(query, key, bias, jnp.float32(1 / query.shape[1]), scale, cap)


def _sums(
    query: jax.Array,
    key: jax.Array,
    bias: jax.Array,
    factor: jax.Array,
    scale: float,
    cap: float,
) -> jax.Array:
    """Column sums [B,N] of factor * mean over heads of softmax(scale q k' + bias)."""
    heads = query.shape[2]

    def add(total: jax.Array, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        logits = jnp.einsum("bnd,bmd->bnm", *pair, preferred_element_type=jnp.float32)
        share = jax.nn.softmax(capped(scale * logits, cap) + bias) * factor
        return total + share.sum(axis=1) / heads, None

    query, key, bias = lax.stop_gradient((query, key, bias))
    query, key = (jnp.moveaxis(x, 2, 0) for x in (query, key))
    total, _ = lax.scan(add, jnp.zeros(query.shape[1:3], jnp.float32), (query, key))
    return total
