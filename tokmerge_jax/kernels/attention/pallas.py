"""Attention with token sizes as Pallas kernels: one block of one head's map at a time.

Source of the forward and backward passes: FlashAttention (NeurIPS 2022, algorithms 1 and 4), with
token sizes as weights of the keys. The entropy of the head-averaged map does not follow from the
heads' own sums: a second pass rebuilds each block of that map from the sums of the first.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array, Float, PyTree

from tokmerge_jax.kernels.attention.pallas_gradient import LOWEST, Logits, gradients
from tokmerge_jax.kernels.pallas_blocks import (
    BLOCK,
    Target,
    as_column,
    as_row,
    call,
    dot,
    padded,
    part,
)


def attention(
    query: Float[Array, "B N K D"],
    key: Float[Array, "B M K D"],
    value: Float[Array, "B M K D"],
    weight: Float[Array, "B M"] | None = None,
    *,
    scale: float,
    cap: float = 0.0,
    entropy: bool = False,
    target: Target,
) -> tuple[Float[Array, "B N K D"], Float[Array, "B N"] | None]:
    """Computes `kernels.attention` on a GPU or TPU, or interpreted; D is a power of two, >= 16."""
    rows = query.shape[1]
    weight = jnp.ones(key.shape[:2], jnp.float32) if weight is None else weight
    weight = padded(weight.astype(jnp.float32), 1)[:, None]
    query, key, value = (padded(x.swapaxes(1, 2), 2) for x in (query, key, value))
    logits = Logits(scale, cap)
    out, _, plain = _attend(query, key, value, weight, logits, target)
    negative_entropy = None
    if entropy:
        known = jax.lax.stop_gradient((query, key, weight, plain))
        negative_entropy = _negative_entropy(*known, logits=logits, target=target)[:, :rows]
    return out[:, :, :rows].swapaxes(1, 2), negative_entropy


def _forward(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    weight: jax.Array,
    logits: Logits,
    target: Target,
) -> tuple[jax.Array, ...]:
    """Computes the result [B,K,N,D] from [B,K,N,D], [B,K,M,D], [B,K,M,D], [B,1,M] in whole blocks.

    Also returns log sum e^logits with and without weights, float32 [B,K,1,N], without gradients.
    """
    batch, heads, rows, width = query.shape
    keys = key.shape[2]
    block = pl.BlockSpec((None, None, BLOCK, width), lambda b, h, i: (b, h, i, 0))
    whole = pl.BlockSpec((None, None, keys, width), lambda b, h, i: (b, h, 0, 0))
    sizes = pl.BlockSpec((None, 1, keys), lambda b, h, i: (b, 0, 0))
    row = pl.BlockSpec((None, None, 1, BLOCK), lambda b, h, i: (b, h, 0, i))
    sums = row, jax.ShapeDtypeStruct((batch, heads, 1, rows), jnp.float32)
    return call(
        partial(_forward_kernel, logits=logits),
        (query, key, value, weight),
        target=target,
        grid=(batch, heads, rows // BLOCK),
        inputs=[block, whole, whole, sizes],
        outputs=[(block, jax.ShapeDtypeStruct(query.shape, value.dtype)), sums, sums],
        name="attention",
    )


def _attend_forward(*given: PyTree) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
    out, total, plain = _forward(*given)
    return (out, total, plain), (*given[:4], out, total)


_attend = jax.custom_vjp(_forward, nondiff_argnums=(4, 5))
_attend.defvjp(
    _attend_forward,
    lambda logits, target, kept, gradient: gradients(
        *kept, dout=gradient[0], logits=logits, target=target
    ),
)


def _forward_kernel(query, key, value, weight, out, total, plain, *, logits):
    """Sums over all keys for a block of queries; earlier sums shrink as the maximum rises.

    The references are to query and out [BLOCK,D], key and value [M,D], weight [1,M], and to the
    sums total and plain [1,BLOCK].
    """
    q = query[...]

    def add(j: jax.Array, so_far: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        top, weighted, unweighted, read = so_far
        here = part(j)
        size, values = weight[:, here], value[here]
        logit = logits(q, key[here], size)
        higher = jnp.maximum(top, logit.max(axis=1, keepdims=True))
        e, fade = jnp.exp(logit - higher), jnp.exp(top - higher)
        counted = e * size
        return (
            higher,
            fade * weighted + counted.sum(axis=1, keepdims=True),
            fade * unweighted + e.sum(axis=1, keepdims=True),
            fade * read + dot(counted.astype(values.dtype), values, (1, 0)),
        )

    column = jnp.zeros((BLOCK, 1), jnp.float32)
    nothing = column + LOWEST, column, column, jnp.zeros(q.shape, jnp.float32)
    top, weighted, unweighted, read = jax.lax.fori_loop(0, key.shape[0] // BLOCK, add, nothing)
    out[...] = (read / weighted).astype(out.dtype)
    total[...] = as_row(top + jnp.log(weighted))
    plain[...] = as_row(top + jnp.log(unweighted))


def _negative_entropy(
    query: jax.Array,
    key: jax.Array,
    weight: jax.Array,
    plain: jax.Array,
    *,
    logits: Logits,
    target: Target,
) -> jax.Array:
    """Computes sum_j a_ij log a_ij [B,N] of the head-averaged map a, block by block."""
    batch, heads, rows, width = query.shape
    columns = key.shape[2] // BLOCK
    sums = pl.BlockSpec((None, None, 1, BLOCK), lambda b, i, j: (b, j, 0, i))
    (negative_entropy,) = call(
        partial(_negative_entropy_kernel, logits=logits),
        (query, key, weight, plain),
        target=target,
        grid=(batch, rows // BLOCK, columns),
        inputs=[
            pl.BlockSpec((None, heads, BLOCK, width), lambda b, i, j: (b, 0, i, 0)),
            pl.BlockSpec((None, heads, BLOCK, width), lambda b, i, j: (b, 0, j, 0)),
            pl.BlockSpec((None, 1, BLOCK), lambda b, i, j: (b, 0, j)),
            pl.BlockSpec((None, heads, 1, BLOCK), lambda b, i, j: (b, 0, 0, i)),
        ],
        outputs=[(sums, jax.ShapeDtypeStruct((batch, columns, 1, rows), jnp.float32))],
        name="attention_entropy",
    )
    return negative_entropy.sum(axis=(1, 2))


def _negative_entropy_kernel(query, key, weight, plain, negative_entropy, *, logits):
    """Sums a log a over a block of keys, for a block of queries of all heads.

    The references are to query and key [K,BLOCK,D], weight [1,BLOCK], plain [K,1,BLOCK] and
    negative_entropy [1,BLOCK].
    """
    heads, size = query.shape[0], weight[...]

    def add(head: jax.Array, mean: jax.Array) -> jax.Array:
        logit = logits(query[head], key[head], size)
        return mean + jnp.exp(logit - as_column(plain[head])) / heads

    mean = jax.lax.fori_loop(0, heads, add, jnp.zeros((BLOCK, BLOCK), jnp.float32))
    positive = mean > 0
    parts = jnp.where(positive, mean * jnp.log(jnp.where(positive, mean, 1)), 0)
    negative_entropy[...] = as_row(parts.sum(axis=1, keepdims=True))
