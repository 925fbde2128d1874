"""Attention pooling: one learned query reads all tokens, and an MLP follows.

Source: Set Transformer (ICML 2019), section 3.2, as in Perception Encoder (arXiv 2504.13181).
"""

import flax.linen as nn
import jax.numpy as jnp
from einops import repeat
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tokmerge_jax.layers.block import MLP, Attention


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
