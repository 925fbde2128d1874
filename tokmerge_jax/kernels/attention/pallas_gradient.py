"""The gradients of attention as Pallas kernels, which recompute each block of the map.

Source: FlashAttention (NeurIPS 2022, algorithm 4). With p = w e^(logits - total) [N,M], the
output o and its gradient g [N,D]:

    dv = p' g
    dlogits = p * (g v' - rowsum(g * o))
    dw = colsum(dlogits) / w

The row sums of g * o are called `offset` here. Capped logits z = cap tanh(x / cap) pass on
dx = dz (1 - (z / cap)^2).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from tokmerge_jax.kernels.capping import capped
from tokmerge_jax.kernels.pallas_blocks import BLOCK, Target, as_column, call, dot, part

LOWEST = -1e30
"""The logit of a key of weight 0; finite, so that differences of two are not NaN."""


class Logits(NamedTuple):
    """How products of queries and keys become logits.

    Attributes:
      scale: scale of the products.
      cap: the largest absolute logit; 0 = none.
    """

    scale: float
    cap: float

    def __call__(self, query: jax.Array, key: jax.Array, weight: jax.Array) -> jax.Array:
        """A block of logits, float32 [BLOCK,BLOCK]; `LOWEST` where weight [1,BLOCK] is 0."""
        products = self.scale * dot(query, key, (1, 1))
        return jnp.where(weight > 0, capped(products, self.cap), LOWEST)

    def uncapped(self, gradient: jax.Array, logits: jax.Array) -> jax.Array:
        """The gradient before the cap, of that of logits; 0 where a key has weight 0."""
        if not self.cap:
            return gradient
        return gradient * jnp.maximum(1 - (logits / self.cap) ** 2, 0)


def gradients(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    weight: jax.Array,
    out: jax.Array,
    total: jax.Array,
    *,
    dout: jax.Array,
    logits: Logits,
    target: Target,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Computes the gradients of queries, keys, values and weights.

    Args:
      query: [B,K,N,D], whole blocks.
      key: [B,K,M,D], whole blocks.
      value: [B,K,M,D].
      weight: float32 [B,1,M].
      out: [B,K,N,D], the result.
      total: float32 [B,K,1,N], log sum weight e^logits.
      dout: [B,K,N,D], the gradient of the result.
      logits: products -> logits.
      target: target of the kernels.
    """
    batch, heads, rows, width = query.shape
    keys = key.shape[2]
    offset = (dout.astype(jnp.float32) * out.astype(jnp.float32)).sum(axis=-1)[:, :, None]
    arrays = query, key, value, weight, total, offset, dout
    block = pl.BlockSpec((None, None, BLOCK, width), lambda b, h, i: (b, h, i, 0))
    row = pl.BlockSpec((None, None, 1, BLOCK), lambda b, h, i: (b, h, 0, i))
    all_keys, all_rows = (
        pl.BlockSpec((None, None, n, width), lambda b, h, i: (b, h, 0, 0)) for n in (keys, rows)
    )
    all_sizes = pl.BlockSpec((None, 1, keys), lambda b, h, i: (b, 0, 0))
    sizes = pl.BlockSpec((None, 1, BLOCK), lambda b, h, i: (b, 0, i))
    sums = pl.BlockSpec((None, None, 1, rows), lambda b, h, i: (b, h, 0, 0))
    (dquery,) = call(
        partial(_query_kernel, logits=logits),
        arrays,
        target=target,
        grid=(batch, heads, rows // BLOCK),
        inputs=[block, all_keys, all_keys, all_sizes, row, row, block],
        outputs=[(block, jax.ShapeDtypeStruct(query.shape, query.dtype))],
        name="attention_query_gradient",
    )
    dkey, dvalue, dweight = call(
        partial(_key_kernel, logits=logits),
        arrays,
        target=target,
        grid=(batch, heads, keys // BLOCK),
        inputs=[all_rows, block, block, sizes, sums, sums, all_rows],
        outputs=[
            (block, jax.ShapeDtypeStruct(key.shape, key.dtype)),
            (block, jax.ShapeDtypeStruct(value.shape, value.dtype)),
            (row, jax.ShapeDtypeStruct((batch, heads, 1, keys), jnp.float32)),
        ],
        name="attention_key_gradient",
    )
    return dquery, dkey, dvalue, dweight.sum(axis=1)


def _query_kernel(query, key, value, weight, total, offset, dout, dquery, *, logits):
    """Sums over all keys for a block of queries.

    The references are to query, dout and dquery [BLOCK,D], key and value [M,D], weight [1,M],
    total and offset [1,BLOCK].
    """
    q, g, sums, shift = query[...], dout[...], as_column(total[...]), as_column(offset[...])

    def add(j: jax.Array, gradient: jax.Array) -> jax.Array:
        here = part(j)
        k, size = key[here], weight[:, here]
        logit = logits(q, k, size)
        p = size * jnp.exp(logit - sums)
        dlogits = logits.uncapped(p * (dot(g, value[here], (1, 1)) - shift), logit)
        return gradient + dot(dlogits.astype(k.dtype), k, (1, 0))

    zeros = jnp.zeros(q.shape, jnp.float32)
    gradient = jax.lax.fori_loop(0, key.shape[0] // BLOCK, add, zeros)
    dquery[...] = (logits.scale * gradient).astype(dquery.dtype)


def _key_kernel(query, key, value, weight, total, offset, dout, dkey, dvalue, dweight, *, logits):
    """Sums over all queries for a block of keys.

    The references are to query and dout [N,D], key, value, dkey and dvalue [BLOCK,D], weight and
    dweight [1,BLOCK], total and offset [1,N].
    """
    k, v, size = key[...], value[...], weight[...]

    def add(i: jax.Array, so_far: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        here = part(i)
        q, g = query[here], dout[here]
        logit = logits(q, k, size)
        e = jnp.exp(logit - as_column(total[:, here]))
        slope = e * (dot(g, v, (1, 1)) - as_column(offset[:, here]))
        return (
            so_far[0] + dot(logits.uncapped(size * slope, logit).astype(q.dtype), q, (0, 0)),
            so_far[1] + dot((size * e).astype(g.dtype), g, (0, 0)),
            so_far[2] + slope.sum(axis=0, keepdims=True),
        )

    zeros = jnp.zeros(k.shape, jnp.float32), jnp.zeros(v.shape, jnp.float32)
    start = *zeros, jnp.zeros((1, BLOCK), jnp.float32)
    by_key, by_value, by_weight = jax.lax.fori_loop(0, query.shape[0] // BLOCK, add, start)
    dkey[...] = (logits.scale * by_key).astype(dkey.dtype)
    dvalue[...] = by_value.astype(dvalue.dtype)
    dweight[...] = by_weight
