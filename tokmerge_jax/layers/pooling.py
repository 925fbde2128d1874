"""Attention pooling: one query reads all tokens.

Source: Set Transformer (ICML 2019), section 3.2, as in Perception Encoder (arXiv 2504.13181); with
the tokens' mean as the query in InternVideo2 (arXiv 2403.15377); with wide heads in VideoPrism
(ICML 2024).
"""

import math
from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tokmerge_jax.layers.attention import Attention
from tokmerge_jax.layers.functional import MLP, Dense


class AttentionPooling(nn.Module):
    """y + MLP(norm(y)), where y is what a learned query reads from the tokens.

    Attributes:
      heads: K.
      epsilon: epsilon of the norm.
      dtype: of the computation.
    """

    heads: int
    epsilon: float = 1e-6
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B N C"], size: Float[Array, "B N"] | None = None
    ) -> Float[Array, "B C"]:
        """Pools tokens; one of size s counts as s equal ones. None = 1."""
        width = x.shape[-1]
        probe = self.param("probe", nn.initializers.normal(width**-0.5), (width,))
        query = repeat(jnp.asarray(probe, self.dtype), "c -> b 1 c", b=len(x))
        attention = Attention(self.heads, width, dtype=self.dtype, name="attention")
        y, _ = attention.attend(query, attention.keys_values(x), size)
        normed = nn.LayerNorm(self.epsilon, dtype=self.dtype, name="norm")(y)
        return (y + MLP(4 * width, width, dtype=self.dtype, name="mlp")(normed))[:, 0]


class MeanAttentionPooling(nn.Module):
    """What the mean of the tokens reads from them.

    Attributes:
      heads: K.
      width: D, number of channels of the result.
      epsilon: epsilon of the norms.
      dtype: of the computation.
    """

    heads: int
    width: int
    epsilon: float = 1e-5
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B N C"], size: Float[Array, "B N"] | None = None
    ) -> Float[Array, "B D"]:
        """Pools tokens; one of size s counts as s equal ones. None = 1."""
        norm = partial(nn.LayerNorm, self.epsilon, dtype=self.dtype)
        share = 1 / x.shape[1] if size is None else (size / size.sum(axis=1)[:, None])[..., None]
        mean = (share * x.astype(jnp.float32)).sum(axis=1, keepdims=True).astype(self.dtype)
        attention = Attention(
            self.heads, x.shape[-1], out_width=self.width, dtype=self.dtype, name="attention"
        )
        read = attention.keys_values(norm(name="key_norm")(x), norm(name="value_norm")(x))
        y, _ = attention.attend(norm(name="query_norm")(mean), read, size)
        return y[:, 0]


class WidePooling(nn.Module):
    """norm(y), where y is what a learned query reads from the tokens by wide heads.

    The logits of a head are sums over its channels, each with a learned scale. As there is only one
    query, it is multiplied by the keys' kernel instead of all tokens, and the tokens are averaged
    before the values' kernel.

    Attributes:
      heads: K.
      inner: number of channels of all heads.
      norm: the class of the norm.
      dtype: of the computation.
    """

    heads: int
    inner: int
    norm: Callable[..., nn.Module] = nn.LayerNorm
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B N C"], size: Float[Array, "B N"] | None = None
    ) -> Float[Array, "B C"]:
        """Pools tokens; one of size s counts as s equal ones. None = 1."""
        width = x.shape[-1]
        # The bias of the keys raises all logits of a head alike, so it has no effect.
        (key, _), (value, bias) = (
            _ByHead(self.heads, self.inner, name=name)(width) for name in ("key", "value")
        )
        query = jnp.einsum("kd,ckd->kc", self._query(width), key).astype(x.dtype)
        logits = jnp.einsum("kc,bnc->bkn", query, x, preferred_element_type=jnp.float32)
        if size is not None:
            logits += jnp.log(size)[:, None]
        mean = jnp.einsum("bkn,bnc->bkc", jax.nn.softmax(logits).astype(x.dtype), x)
        y = jnp.einsum("bkc,ckd->bkd", mean, value.astype(x.dtype)) + bias[None].astype(x.dtype)
        y = Dense(width, dtype=self.dtype, name="out")(rearrange(y, "b k d -> b (k d)"))
        return self.norm(dtype=self.dtype, name="norm")(y)

    def _query(self, width: int) -> Float[Array, "K D"]:
        """The learned query of each head, scaled channel by channel; by 1 / sqrt(D) at first."""
        probe = self.param("probe", nn.initializers.normal(width**-0.5), (width,))
        query = nn.Dense(self.inner, name="query")(probe)
        query = rearrange(query, "(k d) -> k d", k=self.heads)
        scale = self.param("scale", nn.initializers.zeros_init(), query.shape[1:])
        return query * jax.nn.softplus(scale)[None] / (math.log(2) * query.shape[1] ** 0.5)


class _ByHead(nn.Module):
    """The kernel [C,K,D] and the bias [K,D] of a linear layer of K heads and `width` channels."""

    heads: int
    width: int

    @nn.compact
    def __call__(self, inputs: int) -> tuple[Float[Array, "C K D"], Float[Array, "K D"]]:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (inputs, self.width))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.width,))
        return (
            rearrange(kernel, "c (k d) -> c k d", k=self.heads),
            rearrange(bias, "(k d) -> k d", k=self.heads),
        )
