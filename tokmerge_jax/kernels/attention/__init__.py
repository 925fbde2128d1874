"""Attention with token sizes, in the best form for the platform, type and shape."""

from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from einops import rearrange
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tokmerge_jax import parallel
from tokmerge_jax.kernels.attention import cudnn, pallas, whole
from tokmerge_jax.kernels.pallas_blocks import BLOCK

Form = Literal["blocks", "whole", "pallas", "cudnn"]
"""Forms of attention: a loop over heads, all maps at once, our Pallas kernels, cuDNN's kernels."""

FORMS: tuple[Form, ...] = get_args(Form)

_WIDTHS = {"gpu": (16, 32, 64), "tpu": (16, 32, 64, 128)}
"""Head widths D whose blocks fit the memory of a processor."""

_CUDNN_WIDTH = 120
"""Largest head width for cuDNN: all its versions take 128, the channels of sizes included."""

_CUDNN_ROWS = 50
"""Number of queries from which cuDNN was faster than whole maps on an H200."""

_ROWS = 1200
"""Largest number of queries in a block, measured on CPUs: larger maps leave the caches."""

_TOGETHER = 2**22
"""Largest number of entries of the maps that are computed together."""

_COLUMN = 3 * 2**13
"""Bytes per channel of a head's keys, all of which a TPU program holds in 16 MiB."""


def attention(
    query: Float[Array, "B N K D"],
    key: Float[Array, "B M K D"],
    value: Float[Array, "B M K D"],
    weight: Float[Array, "B M"] | None = None,
    *,
    scale: float,
    entropy: bool = False,
    form: Form | None = None,
) -> tuple[Float[Array, "B N K D"], Float[Array, "B N"] | None]:
    """Computes softmax(scale q k' + log weight) v for each head, the softmax in float32.

    Proportional attention (Token Merging, section 3) needs no N x N bias: with
    e = exp(scale q k' - max) it is e (weight v) / (e weight). In profiles, the form is part of the
    scope's name (`attention_blocks`, ...).

    Args:
      query: queries.
      key: keys.
      value: values.
      weight: weight of each key: its token's size, or 0 for padding, which gets no attention; None
        = 1. Every sample needs a key of positive weight.
      scale: scale of the logits.
      entropy: whether to compute the second result; no gradient passes through it.
      form: one of `FORMS`; None = the one that `choose` returns. On a CPU "pallas" is interpreted,
        which is slow.

    Returns:
      The result for each query, in the type of `value`; and, if `entropy`, float32
      sum_j a_ij log a_ij, where a is the mean over heads of softmax(scale q k') over the keys of
      positive weight (the weights themselves are ignored); else None.
    """
    platform = parallel.platform()
    if form is None:
        rows, width = query.shape[1], query.shape[3]
        form = choose(platform, value.dtype, rows, key.shape[1], width, entropy=entropy)
    with jax.named_scope(f"attention_{form}"):
        if form == "cudnn":
            assert not entropy
            return cudnn.attention(query, key, value, weight, scale=scale), None
        if form == "pallas":
            target = platform if platform in ("gpu", "tpu") else "interpret"
            attend = partial(pallas.attention, target=target)
            run = partial(attend, scale=scale, entropy=entropy)
            return parallel.by_device(run, (query, key, value, weight))
        attend = _in_blocks if form == "blocks" else whole.attention
        return attend(query, key, value, weight, scale=scale, entropy=entropy)


def choose(
    platform: str, dtype: DTypeLike, rows: int, keys: int, width: int, *, entropy: bool
) -> Form:
    """Returns the form that `attention` uses by default: the fastest on CPUs and on an H200.

    For TPUs nothing has been measured yet.

    Args:
      platform: "cpu", "gpu" or "tpu", as `parallel.platform` names it.
      dtype: type of the values.
      rows: N, the number of queries of a sample.
      keys: M, the number of keys.
      width: D, the width of a head.
      entropy: whether the entropy is asked for.
    """
    if platform not in _WIDTHS:
        return "blocks"
    size = jnp.dtype(dtype).itemsize
    serves = width % 8 == 0 and width <= _CUDNN_WIDTH and rows >= _CUDNN_ROWS
    if platform == "gpu" and size == 2 and serves and not entropy:
        return "cudnn"
    if 2 * rows <= BLOCK:  # texts: blocks would be mostly padding
        return "whole"
    fits = size == 2 if platform == "gpu" else max(rows, keys) * size <= _COLUMN
    return "pallas" if fits and width in _WIDTHS[platform] else "blocks"


def _in_blocks(
    query: Float[Array, "B N K D"],
    key: Float[Array, "B M K D"],
    value: Float[Array, "B M K D"],
    weight: Float[Array, "B M"] | None = None,
    *,
    scale: float,
    entropy: bool = False,
) -> tuple[Float[Array, "B N K D"], Float[Array, "B N"] | None]:
    """Computes `attention` in a loop over samples, blocks of queries and heads, in little memory.

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
    sample = partial(_sample, heads=heads, block=block, scale=scale, entropy=entropy)
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
    entropy: bool,
) -> tuple[jax.Array, jax.Array | None]:
    """Returns head number `head`'s result [n,D] and, if `entropy`, its part of the mean map."""
    q, k, v = (
        lax.dynamic_slice_in_dim(x, head * (x.shape[1] // heads), x.shape[1] // heads, axis=1)
        for x in (queries, key, value)
    )
    e = _exponentials(q, k, padding, scale)
    probabilities = None
    if entropy:
        probabilities = lax.stop_gradient(e / (heads * e.sum(axis=-1, keepdims=True)))
    return _weighted_values(e, v, weight), probabilities


def _exponentials(
    query: jax.Array, key: jax.Array, padding: jax.Array | None, scale: float
) -> jax.Array:
    """Computes exp(logits - row maximum) [N,M]; `padding` is -inf for keys to leave out, else 0."""
    logits = scale * jnp.dot(query, key.T, preferred_element_type=jnp.float32)
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
