"""Attention with token sizes, in the best form for the platform, type and shape."""

from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tokmerge_jax import parallel
from tokmerge_jax.kernels.attention import blocks, cudnn, whole

Form = Literal["blocks", "whole", "pallas", "cudnn"]
"""Forms of attention: a loop over heads, all maps at once, our Pallas kernels, cuDNN's kernels."""

FORMS: tuple[Form, ...] = get_args(Form)

_WIDTHS = {"gpu": (16, 32, 64), "tpu": (16, 32, 64, 128)}
"""Head widths D whose blocks fit the memory of a processor."""

_CUDNN_WIDTH = 120
"""Largest head width for cuDNN: all its versions take 128, the channels of sizes included."""

_CUDNN_ROWS = 50
"""Number of queries from which cuDNN was faster than whole maps on an H200."""

_WHOLE_ROWS = 64
"""Number of queries up to which all maps fit half a block of our kernels."""

_COLUMN = 3 * 2**13
"""Bytes per channel of a head's keys, all of which a TPU program holds in 16 MiB."""


def attention(
    query: Float[Array, "B N K D"],
    key: Float[Array, "B M K D"],
    value: Float[Array, "B M K D"],
    weight: Float[Array, "B M"] | None = None,
    *,
    scale: float,
    cap: float = 0.0,
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
      cap: the largest absolute logit: a scaled logit z becomes cap tanh(z / cap), before weights
        count; 0 = none. Not for the form "cudnn".
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
        keys, capped = key.shape[1], cap > 0
        form = choose(platform, value.dtype, rows, keys, width, entropy=entropy, capped=capped)
    if form == "cudnn" and (cap or entropy):
        raise ValueError("cuDNN's attention knows neither a cap of logits nor the entropy")
    with jax.named_scope(f"attention_{form}"):
        if form == "cudnn":
            return cudnn.attention(query, key, value, weight, scale=scale), None
        if form == "pallas":
            from tokmerge_jax.kernels.attention import pallas  # takes a while, and a GPU or TPU

            target = platform if platform in ("gpu", "tpu") else "interpret"
            attend = partial(pallas.attention, target=target)
            run = partial(attend, scale=scale, cap=cap, entropy=entropy)
            return parallel.by_device(run, (query, key, value, weight))
        attend = blocks.attention if form == "blocks" else whole.attention
        return attend(query, key, value, weight, scale=scale, cap=cap, entropy=entropy)


def choose(
    platform: str,
    dtype: DTypeLike,
    rows: int,
    keys: int,
    width: int,
    *,
    entropy: bool,
    capped: bool = False,
) -> Form:
    """Returns the form that `attention` uses by default: the fastest on CPUs and on an H200.

    For TPUs nothing has been measured yet.

    Args:
      platform: as `parallel.platform` names it; "any" excludes kernels of one platform.
      dtype: type of the values.
      rows: N, the number of queries of a sample.
      keys: M, the number of keys.
      width: D, the width of a head.
      entropy: whether the entropy is asked for.
      capped: whether logits are capped, which cuDNN does not know.
    """
    if platform not in _WIDTHS:
        return "blocks"
    size = jnp.dtype(dtype).itemsize
    serves = width % 8 == 0 and width <= _CUDNN_WIDTH and rows >= _CUDNN_ROWS
    if platform == "gpu" and size == 2 and serves and not (entropy or capped):
        return "cudnn"
    if rows <= _WHOLE_ROWS:  # texts: blocks would be mostly padding
        return "whole"
    fits = size == 2 if platform == "gpu" else max(rows, keys) * size <= _COLUMN
    return "pallas" if fits and width in _WIDTHS[platform] else "blocks"
