"""Attention pooling: one query reads all tokens.

Source: Set Transformer (ICML 2019), section 3.2, as in Perception Encoder (arXiv 2504.13181); with
the tokens' mean as the query in InternVideo2 (arXiv 2403.15377).
"""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from einops import repeat
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tokmerge_jax.layers.block import Attention
from tokmerge_jax.layers.functional import MLP


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
