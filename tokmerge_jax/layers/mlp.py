"""The two-layer perceptron of every transformer block here."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float


class MLP(nn.Module):
    """out(GELU(hidden(x))), GELU in its exact (erf) form.

    Attributes:
      hidden_width: channels between the two layers.
      width: channels of the result.
      dtype: of the computation.
    """

    hidden_width: int
    width: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*any C"]) -> Float[Array, "*any D"]:
        """Works on the last axis."""
        x = nn.Dense(self.hidden_width, dtype=self.dtype, name="hidden")(x)
        x = nn.gelu(x, approximate=False)
        return nn.Dense(self.width, dtype=self.dtype, name="out")(x)
