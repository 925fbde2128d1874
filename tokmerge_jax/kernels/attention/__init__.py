"""Attention with token sizes, in the form that serves a platform, type and shape best."""

from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tokmerge_jax import parallel
from tokmerge_jax.kernels.attention import blocks, cudnn, pallas, whole
from tokmerge_jax.kernels.pallas_blocks import BLOCK

Form = Literal["blocks", "whole", "pallas", "cudnn"]
"""How attention is computed: in a loop over heads, all maps at once, by our kernels, by cuDNN's."""

FORMS: tuple[Form, ...] = get_args(Form)
_WIDTHS = {"gpu": (16, 32, 64), "tpu": (16, 32, 64, 128)}  # D whose blocks fit a processor's memory
_CUDNN_WIDTH = 128  # the widest head that all of its versions take
_COLUMN = 3 * 2**13  # bytes of a column of keys: a TPU's program holds all of a head, in 16 MiB


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
    """softmax(scale q k' + log weight) v for each head, the softmax in float32.

    Proportional attention (Token Merging, section 3) needs no N x N bias: with
    e = exp(scale q k' - max) it is e (weight v) / (e weight). A profile names the form
    (`attention_blocks`, ...).

    Args:
      query: one per token that asks.
      key: what queries are compared with.
      value: what they read.
      weight: how much each key counts: its token's size, or 0 for padding, which nobody sees;
        None = 1. Every sample needs a key of positive weight.
      scale: of the logits.
      entropy: compute the second result too; no gradient passes through it.
      form: one of `FORMS`; None = `choose`'s. On a CPU "pallas" is interpreted, which is slow.

    Returns:
      What each query reads, in the type of `value`. If asked for, also float32 sum_j a_ij log a_ij
      of a, the mean over heads of softmax(scale q k'): weights only tell it what is padding.
    """
    plain = weight is None and not entropy
    platform = jax.default_backend()
    if form is None:
        rows, width = query.shape[1], query.shape[3]
        form = choose(platform, value.dtype, rows, key.shape[1], width, plain=plain)
    with jax.named_scope(f"attention_{form}"):
        if form == "cudnn":
            assert plain
            return cudnn.attention(query, key, value, scale=scale), None
        if form == "pallas":
            target = platform if platform in ("gpu", "tpu") else "interpret"
            attend = partial(pallas.attention, target=target)
            run = partial(attend, scale=scale, entropy=entropy)
            return parallel.by_device(run, (query, key, value, weight))
        attend = (blocks if form == "blocks" else whole).attention
        return attend(query, key, value, weight, scale=scale, entropy=entropy)


def choose(
    platform: str, dtype: DTypeLike, rows: int, keys: int, width: int, *, plain: bool
) -> Form:
    """The form that `attention` takes by itself; on accelerators by counts, not yet by clocks.

    Args:
      platform: "cpu", "gpu" or "tpu", as `jax.default_backend` names it.
      dtype: of the values.
      rows: N, queries of a sample.
      keys: M.
      width: D.
      plain: whether there are neither weights nor an entropy to compute.
    """
    if platform not in _WIDTHS:
        return "blocks"
    if 2 * rows <= BLOCK:  # a text's: our blocks would be padding mostly
        return "whole"
    size = jnp.dtype(dtype).itemsize
    if platform == "gpu" and size == 2 and plain and width % 8 == 0 and width <= _CUDNN_WIDTH:
        return "cudnn"
    fits = size == 2 if platform == "gpu" else max(rows, keys) * size <= _COLUMN
    return "pallas" if fits and width in _WIDTHS[platform] else "blocks"
