"""Attention with token sizes, in the form that serves a platform, type and shape best."""

from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tokmerge_jax import parallel
from tokmerge_jax.kernels import attention_blocks, attention_pallas, attention_whole
from tokmerge_jax.kernels.blocks import BLOCK

Form = Literal["blocks", "whole", "pallas", "cudnn"]
"""How attention is computed: in a loop over heads, all maps at once, by our kernels, by cuDNN's."""

FORMS: tuple[Form, ...] = get_args(Form)
_WIDTHS = 16, 32, 64, 128  # of heads, in channels, that fill a matrix unit's operands


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
    form = form or choose(platform, value.dtype, query.shape[1], query.shape[3], plain)
    with jax.named_scope(f"attention_{form}"):
        if form == "cudnn":
            assert plain
            return jax.nn.dot_product_attention(
                query, key, value, scale=scale, implementation="cudnn"
            ), None
        if form == "pallas":
            target = platform if platform in ("gpu", "tpu") else "interpret"
            attend = partial(attention_pallas.attention, target=target)
            run = partial(attend, scale=scale, entropy=entropy)
            return parallel.by_device(run, (query, key, value, weight))
        attend = (attention_blocks if form == "blocks" else attention_whole).attention
        return attend(query, key, value, weight, scale=scale, entropy=entropy)


def choose(platform: str, dtype: jax.typing.DTypeLike, rows: int, width: int, plain: bool) -> Form:
    """The form that `attention` takes by itself.

    Args:
      platform: "cpu", "gpu" or "tpu", as `jax.default_backend` names it.
      dtype: of the values.
      rows: N, queries of a sample.
      width: D.
      plain: whether there are neither weights nor an entropy to compute.
    """
    if platform not in ("gpu", "tpu"):
        return "blocks"
    if 2 * rows <= BLOCK:  # a text's: our blocks would be padding mostly
        return "whole"
    if plain and platform == "gpu" and jnp.dtype(dtype).itemsize == 2:
        return "cudnn"
    return "pallas" if width in _WIDTHS else "blocks"
