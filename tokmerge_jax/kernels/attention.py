"""Attention one head and one block of queries at a time."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def attention(
    query: Float[Array, "B N K D"],
    key: Float[Array, "B M K D"],
    value: Float[Array, "B M K D"],
    weight: Float[Array, "B M"] | None = None,
    *,
    scale: float,
    entropy: bool = False,
) -> tuple[Float[Array, "B N K D"], Float[Array, "B N"] | None]:
    """softmax(scale q k' + log weight) v, simple first form."""
    logits = scale * jnp.einsum("bnkd,bmkd->bknm", query, key, preferred_element_type=jnp.float32)
    biased = logits if weight is None else logits + jnp.log(weight)[:, None, None, :]
    probability = jax.nn.softmax(biased).astype(value.dtype)
    out = jnp.einsum("bknm,bmkd->bnkd", probability, value)
    if not entropy:
        return out, None
    mean = jax.lax.stop_gradient(jax.nn.softmax(logits).mean(axis=1))
    return out, jax.scipy.special.xlogy(mean, mean).sum(axis=-1)
