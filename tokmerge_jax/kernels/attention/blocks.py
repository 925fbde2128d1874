"""Attention in memory that grows with the sequence, not with its square times the heads.

A loop over samples, blocks of queries and heads: one head's [rows, M] map is all that exists at a
time. On a CPU, where a map of all heads is bound by memory, that is the fastest form too: blocks of
about a thousand queries keep the matrix products efficient, a head's columns are sliced out of
[N, K*D] inside the loop, and a row is divided by its sum only after the product with the values.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from tokmerge_jax import parallel

_ROWS = 1200  # most queries in a block
_TOGETHER = 2**22  # numbers in the maps of short samples that are worked on together


def attention(
    query: Float[Array, "B N K D"],
    key: Float[Array, "B M K D"],
    value: Float[Array, "B M K D"],
    weight: Float[Array, "B M"] | None = None,
    *,
    scale: float,
    entropy: bool = False,
) -> tuple[Float[Array, "B N K D"], Float[Array, "B N"] | None]:
    """`kernels.attention` where one head's [rows, M] map is the largest there is."""
    batch, rows, heads, width = query.shape
    blocks = -(-rows // _ROWS)
    block = -(-rows // blocks)
    query = jnp.pad(query, ((0, 0), (0, blocks * block - rows), (0, 0), (0, 0)))
    columns = [x.reshape(*x.shape[:2], heads * width) for x in (query, key, value)]
    weight = None if weight is None else weight.astype(jnp.float32)
    sample = partial(_sample, heads=heads, block=block, scale=scale, entropy=entropy)
    together = _TOGETHER // (block * key.shape[1])
    out, negative_entropy = parallel.map_rows(jax.vmap(sample), (*columns, weight), together)
    out = out.reshape(batch, blocks * block, heads, width)[:, :rows]
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
    entropy: bool,
) -> tuple[jax.Array, jax.Array | None]:
    """Attention of one sample, whose heads lie side by side in the columns of [N, K*D]."""

    padding = None if weight is None else jnp.where(weight > 0, 0.0, -jnp.inf)[None]

    @partial(jax.checkpoint, prevent_cse=False)  # a gradient needs each map once again, not all
    def attend(queries: jax.Array, head: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        q, k, v = (_head(x, head, heads) for x in (queries, key, value))
        e = _exponentials(q, k, padding, scale)
        share = lax.stop_gradient(e / (heads * e.sum(axis=-1, keepdims=True))) if entropy else None
        return _read(e, v, weight), share

    def work(queries: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        def step(mean: jax.Array | None, head: jax.Array) -> tuple[jax.Array | None, jax.Array]:
            out, share = attend(queries, head)
            return (None if mean is None else mean + share), out

        mean = jnp.zeros((block, len(key)), jnp.float32) if entropy else None
        mean, out = lax.scan(step, mean, jnp.arange(heads))
        out = out.transpose(1, 0, 2).reshape(queries.shape)
        return out, None if mean is None else jax.scipy.special.xlogy(mean, mean).sum(axis=-1)

    out, seen = lax.map(work, query.reshape(-1, block, query.shape[1]))
    return out.reshape(query.shape), None if seen is None else seen.reshape(-1)


def _head(x: jax.Array, head: jax.Array, heads: int) -> jax.Array:
    width = x.shape[1] // heads
    return lax.dynamic_slice_in_dim(x, head * width, width, axis=1)


def _exponentials(
    query: jax.Array, key: jax.Array, padding: jax.Array | None, scale: float
) -> jax.Array:
    """exp(logits - their row's maximum) [N,M], 0 where a key's `padding` is -inf, not 0."""
    logits = scale * jnp.dot(query, key.T, preferred_element_type=jnp.float32)
    if padding is not None:
        logits += padding
    return jnp.exp(logits - lax.stop_gradient(logits.max(axis=-1, keepdims=True)))


def _read(e: jax.Array, value: jax.Array, weight: jax.Array | None) -> jax.Array:
    """Means of values [M,D] under e * weight, in the type of the values."""
    if weight is None:
        total, weighted = e.sum(axis=-1, keepdims=True), value
    else:
        total, weighted = e @ weight[:, None], value * weight[:, None].astype(value.dtype)
    out = jnp.dot(e.astype(value.dtype), weighted, preferred_element_type=jnp.float32)
    return (out / total).astype(value.dtype)
