"""Linear layers, and such joined with what comes before them."""

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
    """`x @ kernel` of all rows of x as one matrix, also as a `dot_general` of Flax's layers.

    Where rows have several axes, XLA writes one side transposed for the gradient of the kernel:
    up to an eighth of the product's own time.
    """
    del dimension_numbers  # a linear layer has but these
    rows = jax.lax.dot(x.reshape(-1, x.shape[-1]), kernel, precision=precision)
    return rows.reshape(*x.shape[:-1], kernel.shape[-1])


Dense = functools.partial(nn.Dense, dot_general=product)
"""Flax's, with that `product`."""


def in_one(first: nn.Dense, second: nn.Dense, x: Float[Array, "*any C"]) -> Float[Array, "*any D"]:
    """`second(first(x))`, the kernels multiplied once rather than each with all of `x`."""
    if first.is_initializing():
        return second(first(x))
    own, next_ = (layer.variables["params"] for layer in (first, second))
    kernel = own["kernel"] @ next_["kernel"]
    bias = own["bias"] @ next_["kernel"] + next_["bias"]
    return _linear(x, kernel, bias, second.dtype)


def normed(norm: nn.LayerNorm, linear: nn.Dense, x: Float[Array, "*any C"]) -> Array:
    """`linear(norm(x))`, the norm's scale and bias multiplied into the layer rather than with x.

    Where x needs no gradient this saves the product that would carry one back to scale and bias.
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
