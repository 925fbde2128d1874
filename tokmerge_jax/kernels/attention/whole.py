"""Attention with the maps of all heads in memory at once, the fastest form for small maps."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tokmerge_jax.kernels.capping import capped


def attention(
    query: Float[Array, "B N K D"],
    key: Float[Array, "B M K D"],
    value: Float[Array, "B M K D"],
    weight: Float[Array, "B M"] | None = None,
    *,
    scale: float,
    cap: float = 0.0,
    entropy: bool = False,
) -> tuple[Float[Array, "B N K D"], Float[Array, "B N"] | None]:
    """Computes `kernels.attention` from its definition, with B K N M numbers in memory."""
    logits = scale * jnp.einsum("bnkd,bmkd->bknm", query, key, preferred_element_type=jnp.float32)
    logits = capped(logits, cap)
    size = jnp.ones(key.shape[:2]) if weight is None else weight.astype(jnp.float32)
    logits = jnp.where(size[:, None, None] > 0, logits, -jnp.inf)
    e = jnp.exp(logits - jax.lax.stop_gradient(logits.max(axis=-1, keepdims=True)))
    counted = e if weight is None else e * size[:, None, None]
    total = jnp.moveaxis(counted.sum(axis=-1), 1, 2)[..., None]
    read = jnp.einsum(
        "bknm,bmkd->bnkd", counted.astype(value.dtype), value, preferred_element_type=jnp.float32
    )
    negative_entropy = None
    if entropy:
        mean = jax.lax.stop_gradient(e / e.sum(axis=-1, keepdims=True)).mean(axis=1)
        negative_entropy = jax.scipy.special.xlogy(mean, mean).sum(axis=-1)
    return (read / total).astype(value.dtype), negative_entropy
