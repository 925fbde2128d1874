"""Linear layers, and linear layers fused with the layer before them."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike
from jaxtyping import Array, Float


def product(
    x: Float[Array, "*any C"],
    kernel: Float[Array, "C D"],
    dimension_numbers: object = None,
    precision: jax.lax.PrecisionLike = None,
) -> Float[Array, "*any D"]:
    """Computes `x @ kernel` as one product of two matrices; fits as Flax's `dot_general`.

    With more axes than two, XLA transposes one side for the gradient of the kernel, which takes up
    to an eighth of the product's own time.
    """
    del dimension_numbers  # a linear layer has only one choice of them
    rows = jax.lax.dot(x.reshape(-1, x.shape[-1]), kernel, precision=precision)  # [rows,D]
    return rows.reshape(*x.shape[:-1], kernel.shape[-1])


Dense = functools.partial(nn.Dense, dot_general=product)
"""Flax's linear layer, whose product is `product`."""


def fused_dense_dense(
    first: nn.Dense, second: nn.Dense, x: Float[Array, "*any C"]
) -> Float[Array, "*any D"]:
    """Computes `second(first(x))` with one kernel, the product of both.

    The kernels are multiplied once; without this, all of `x` is multiplied twice.
    """
    if first.is_initializing():
        return second(first(x))
    own, next_ = (layer.variables["params"] for layer in (first, second))
    kernel = own["kernel"] @ next_["kernel"]
    bias = own["bias"] @ next_["kernel"] + next_["bias"]
    return _linear(x, kernel, bias, second.dtype)


def fused_norm_dense(norm: nn.LayerNorm, linear: nn.Dense, x: Float[Array, "*any C"]) -> Array:
    """Computes `linear(norm(x))` with the norm's scale and bias folded into the linear layer.

    Where x needs no gradient, this saves the product that the gradients of scale and bias need.
    """
    if norm.is_initializing():
        return linear(norm(x))
    plain = nn.LayerNorm(norm.epsilon, dtype=linear.dtype, use_bias=False, use_scale=False)
    own, next_ = (layer.variables["params"] for layer in (norm, linear))
    kernel = own["scale"][:, None] * next_["kernel"]
    bias = own["bias"] @ next_["kernel"] + next_["bias"]
    return _linear(plain(x), kernel, bias, linear.dtype)


def _linear(x: jax.Array, kernel: jax.Array, bias: jax.Array, dtype: DTypeLike | None) -> jax.Array:
    x, kernel, bias = promote_dtype(x, kernel, bias, dtype=dtype)
    return product(x, kernel) + jnp.expand_dims(bias, range(x.ndim - 1))
