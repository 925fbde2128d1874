"""Attention in a loop over samples, blocks of queries and heads: the form for CPUs."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from einops import rearrange
from jax import lax
from jaxtyping import Array, Float

from tokmerge_jax import parallel
from tokmerge_jax.kernels.capping import capped

_ROWS = 1200
"""Largest number of queries in a block, measured on CPUs: larger maps leave the caches."""

_TOGETHER = 2**22
"""Largest number of entries of the maps that are computed together."""


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
    """Computes `kernels.attention` in a loop over samples, blocks of queries and heads.

    Only one head's map [rows, M] is in memory at a time. On a CPU, where maps of all heads would be
    bound by memory, it is the fastest form, too: blocks of about a thousand queries keep matrix
    products efficient, a head's columns are sliced out of [N, K*D] inside the loop, and rows are
    divided by their sums only after the product with the values.
    """
    _, rows, heads, _ = query.shape
    blocks = -(-rows // _ROWS)
    block = -(-rows // blocks)
    query = jnp.pad(query, ((0, 0), (0, blocks * block - rows), (0, 0), (0, 0)))
    columns = [rearrange(x, "b n k d -> b n (k d)") for x in (query, key, value)]
    weight = None if weight is None else weight.astype(jnp.float32)
    sample = partial(_sample, heads=heads, block=block, scale=scale, cap=cap, entropy=entropy)
    together = _TOGETHER // (block * key.shape[1])
    out, negative_entropy = parallel.map_rows(jax.vmap(sample), (*columns, weight), together)
    out = rearrange(out, "b n (k d) -> b n k d", k=heads)[:, :rows]
    return out, negative_entropy[:, :rows] if entropy else None


def _sample(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    weight: jax.Array | None,
    *,
    heads: int,
    block: int,
    scale: float,
    cap: float,
    entropy: bool,
) -> tuple[jax.Array, jax.Array | None]:
    """Computes attention of one sample; its heads are adjacent columns of [N, K*D]."""
    padding = None if weight is None else jnp.where(weight > 0, 0.0, -jnp.inf)[None]
    attend = partial(
        _attend_head,
        key=key,
        value=value,
        weight=weight,
        padding=padding,
        heads=heads,
        scale=scale,
        cap=cap,
        entropy=entropy,
    )
    attend = jax.checkpoint(attend, prevent_cse=False)  # the backward pass recomputes each map
    shape = (block, len(key)) if entropy else None
    rows = partial(_attend_rows, attend=attend, heads=heads, map_shape=shape)
    out, negative_entropy = lax.map(rows, rearrange(query, "(b n) c -> b n c", n=block))
    out = rearrange(out, "b n c -> (b n) c")
    if negative_entropy is not None:
        negative_entropy = rearrange(negative_entropy, "b n -> (b n)")
    return out, negative_entropy


def _attend_rows(
    queries: jax.Array,
    *,
    attend: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array | None]],
    heads: int,
    map_shape: tuple[int, int] | None,
) -> tuple[jax.Array, jax.Array | None]:
    """Attends from a block of queries [n, K*D], head by head, and sums up the head-averaged map.

    Args:
      queries: the block.
      attend: `_attend_head` without its first two arguments' values.
      heads: K.
      map_shape: the shape [n,M] of the head-averaged map; None = its entropy is not asked for.
    """

    def add(mean: jax.Array | None, head: jax.Array) -> tuple[jax.Array | None, jax.Array]:
        out, probabilities = attend(queries, head)
        if mean is not None and probabilities is not None:
            mean += probabilities
        return mean, out

    mean = jnp.zeros(map_shape, jnp.float32) if map_shape else None
    mean, out = lax.scan(add, mean, jnp.arange(heads))
    out = rearrange(out, "k n d -> n (k d)")
    return out, None if mean is None else jax.scipy.special.xlogy(mean, mean).sum(axis=-1)


def _attend_head(
    queries: jax.Array,
    head: jax.Array,
    *,
    key: jax.Array,
    value: jax.Array,
    weight: jax.Array | None,
    padding: jax.Array | None,
    heads: int,
    scale: float,
    cap: float,
    entropy: bool,
) -> tuple[jax.Array, jax.Array | None]:
    """Returns head number `head`'s result [n,D] and, if `entropy`, its part of the mean map."""
    q, k, v = (
        lax.dynamic_slice_in_dim(x, head * (x.shape[1] // heads), x.shape[1] // heads, axis=1)
        for x in (queries, key, value)
    )
    e = _exponentials(q, k, padding, scale, cap)
    probabilities = None
    if entropy:
        probabilities = lax.stop_gradient(e / (heads * e.sum(axis=-1, keepdims=True)))
    return _weighted_values(e, v, weight), probabilities


def _exponentials(
    query: jax.Array, key: jax.Array, padding: jax.Array | None, scale: float, cap: float
) -> jax.Array:
    """Computes exp(logits - row maximum) [N,M]; `padding` is -inf for keys to leave out, else 0."""
    logits = capped(scale * jnp.dot(query, key.T, preferred_element_type=jnp.float32), cap)
    if padding is not None:
        logits += padding
    return jnp.exp(logits - lax.stop_gradient(logits.max(axis=-1, keepdims=True)))


def _weighted_values(e: jax.Array, value: jax.Array, weight: jax.Array | None) -> jax.Array:
    """Averages values [M,D] with weights e * weight, in the type of the values."""
    if weight is None:
        total, weighted = e.sum(axis=-1, keepdims=True), value
    else:
        total, weighted = e @ weight[:, None], value * weight[:, None].astype(value.dtype)
    out = jnp.dot(e.astype(value.dtype), weighted, preferred_element_type=jnp.float32)
    return (out / total).astype(value.dtype)
