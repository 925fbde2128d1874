"""The head of a BERT that predicts words."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tokmerge_jax.layers.functional import Dense, gelu


class WordHead(nn.Module):
    """Predicts words from states: a transform, then the word table as output layer.

    Attributes:
      width: C.
      vocab_size: W, number of rows of the word table.
      dtype: dtype of the transform; logits are float32.
    """

    width: int
    vocab_size: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "*any C"], table: Float[Array, "W C"]
    ) -> Float[Array, "*any W"]:
        """Returns the logits of the rows of `table` (float32)."""
        x = gelu(Dense(self.width, dtype=self.dtype, name="transform")(x))
        x = nn.LayerNorm(1e-12, dtype=self.dtype, name="norm")(x)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.vocab_size,))
        products = jax.lax.dot_general(
            x,
            table.astype(x.dtype),
            (((x.ndim - 1,), (1,)), ((), ())),
            preferred_element_type=jnp.float32,
        )
        return products + jnp.expand_dims(bias, range(x.ndim - 1))
