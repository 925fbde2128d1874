"""The attention that each token receives: column sums of the head-averaged map."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def received(
    query: Float[Array, "B N K D"], key: Float[Array, "B N K D"], *, scale: float
) -> Float[Array, "B N"]:
    """Computes sum_{i != j} a_ij in float32, where a is the mean over heads of softmax(scale q k').

    Only one head's map is in memory at a time. No gradient passes through the result.
    """
    heads = query.shape[2]
    others = 1 - jnp.eye(query.shape[1], dtype=jnp.float32)[None]

    def add(total: jax.Array, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        logits = jnp.einsum("bnd,bmd->bnm", *pair, preferred_element_type=jnp.float32)
        share = jax.nn.softmax(scale * logits) * others
        return total + share.sum(axis=1) / heads, None

    query, key = (jnp.moveaxis(lax.stop_gradient(x), 2, 0) for x in (query, key))
    total, _ = lax.scan(add, jnp.zeros(query.shape[1:3], jnp.float32), (query, key))
    return total
