"""The two-layer perceptron of every transformer block here, and its activations."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float


def gelu(x: Float[Array, "*any C"]) -> Float[Array, "*any C"]:
    """GELU in its exact (erf) form."""
    return nn.gelu(x, approximate=False)


def quick_gelu(x: Float[Array, "*any C"]) -> Float[Array, "*any C"]:
    """x sigmoid(1.702 x), what OpenAI's CLIP was trained with."""
    return x * jax.nn.sigmoid(1.702 * x)


class MLP(nn.Module):
    """out(activation(hidden(x))).

    Attributes:
      hidden_width: channels between the two layers.
      width: channels of the result.
      activation: `gelu` or `quick_gelu`.
      dtype: of the computation.
    """

    hidden_width: int
    width: int
    activation: Callable[[jax.Array], jax.Array] = gelu
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*any C"]) -> Float[Array, "*any D"]:
        """Works on the last axis."""
        x = nn.Dense(self.hidden_width, dtype=self.dtype, name="hidden")(x)
        x = self.activation(x)
        return nn.Dense(self.width, dtype=self.dtype, name="out")(x)
