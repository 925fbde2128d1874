"""What several networks share: linear layers, activations, the MLP, unit vectors, patches."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax.typing import DTypeLike
from jaxtyping import Array, Float


def product(
    x: Float[Array, "*any C"],
    kernel: Float[Array, "C D"],
    dimension_numbers: object = None,
    precision: jax.lax.PrecisionLike = None,
) -> Float[Array, "*any D"]:
    """Computes `x @ kernel` as a product of two matrices, in the role of Flax's `dot_general`.

    If x had more than two axes, XLA would transpose one side for the gradient of the kernel, which
    takes up to an eighth of the product's own time.
    """
    del dimension_numbers  # Flax passes it; a linear layer always contracts the last axis
    rows = jax.lax.dot(x.reshape(-1, x.shape[-1]), kernel, precision=precision)  # [rows,D]
    return rows.reshape(*x.shape[:-1], kernel.shape[-1])


Dense = functools.partial(nn.Dense, dot_general=product)
"""Flax's linear layer, computed by `product`."""


@jax.custom_vjp
def gelu(x: Float[Array, "*any C"]) -> Float[Array, "*any C"]:
    """GELU in its exact (erf) form, computed in float32; its backward pass stores only x."""
    wide = x.astype(jnp.float32)
    return (wide * _below(wide)).astype(x.dtype)


def _below(x: jax.Array) -> jax.Array:
    """Returns P(normal < x). `erfc`, which is exact far below 0, would take three times as long."""
    return 0.5 + 0.5 * jax.lax.erf(x * 0.5**0.5)


def _gelu_backward(x: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    wide = x.astype(jnp.float32)
    density = jnp.exp(-0.5 * wide * wide) * (2 * jnp.pi) ** -0.5
    return ((gradient * (_below(wide) + wide * density)).astype(x.dtype),)


gelu.defvjp(lambda x: (gelu(x), x), _gelu_backward)


def gelu_tanh(x: Float[Array, "*any C"]) -> Float[Array, "*any C"]:
    """GELU in its approximation by tanh, computed in float32."""
    return jax.nn.gelu(x.astype(jnp.float32), approximate=True).astype(x.dtype)


def quick_gelu(x: Float[Array, "*any C"]) -> Float[Array, "*any C"]:
    """Computes x sigmoid(1.702 x), the activation of OpenAI's CLIP."""
    return x * jax.nn.sigmoid(1.702 * x)


class MLP(nn.Module):
    """out(activation(hidden(x))).

    Attributes:
      hidden_width: number of channels between the two layers.
      width: number of channels of the result.
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


def unit(x: Float[Array, "*any E"]) -> Float[Array, "*any E"]:
    """Scales vectors to unit norm (float32); without an epsilon, so a zero vector becomes NaN."""
    x = x.astype(jnp.float32)
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def patchify(video: Float[Array, "B T H W C"], edge: int) -> Float[Array, "B N D"]:
    """Cuts each frame into patches of `edge` x `edge` pixels.

    Patches come in order of frame, row, column; each is flattened as row, column, colour. A dense
    layer on them equals a convolution whose kernel and stride are the patch.
    """
    return rearrange(video, "b t (h i) (w j) c -> b (t h w) (i j c)", i=edge, j=edge)
