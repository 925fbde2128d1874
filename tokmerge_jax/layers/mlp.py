"""The two-layer perceptron of every transformer block here, and its activations."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tokmerge_jax.layers.dense import Dense


@jax.custom_vjp
def gelu(x: Float[Array, "*any C"]) -> Float[Array, "*any C"]:
    """GELU in its exact (erf) form, computed in float32; its backward pass stores only x."""
    wide = x.astype(jnp.float32)
    return (wide * _below(wide)).astype(x.dtype)


def _below(x: jax.Array) -> jax.Array:
    """Returns P(normal < x). `erfc`, which is exact far below 0, would take three times as long."""
    return 0.5 + 0.5 * jax.lax.erf(x * 0.5**0.5)


def _gelu_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return gelu(x), x


def _gelu_backward(x: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    wide = x.astype(jnp.float32)
    density = jnp.exp(-0.5 * wide * wide) * (2 * jnp.pi) ** -0.5
    return ((gradient * (_below(wide) + wide * density)).astype(x.dtype),)


gelu.defvjp(_gelu_forward, _gelu_backward)


def quick_gelu(x: Float[Array, "*any C"]) -> Float[Array, "*any C"]:
    """Computes x sigmoid(1.702 x), the activation of OpenAI's CLIP."""
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
        """Applies both layers to the last axis."""
        x = Dense(self.hidden_width, dtype=self.dtype, name="hidden")(x)
        x = self.activation(x)
        return Dense(self.width, dtype=self.dtype, name="out")(x)
