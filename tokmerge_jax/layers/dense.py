"""Linear layers joined with what comes before them."""

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float


def in_one(first: nn.Dense, second: nn.Dense, x: Float[Array, "*any C"]) -> Float[Array, "*any D"]:
    """`second(first(x))`, the kernels multiplied once rather than each with all of `x`."""
    if first.is_initializing():
        return second(first(x))
    own, next_ = (layer.variables["params"] for layer in (first, second))
    kernel = own["kernel"] @ next_["kernel"]
    bias = own["bias"] @ next_["kernel"] + next_["bias"]
    x, kernel, bias = promote_dtype(x, kernel, bias, dtype=second.dtype)
    return x @ kernel + jnp.expand_dims(bias, range(x.ndim - 1))


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
    x, kernel, bias = promote_dtype(plain(x), kernel, bias, dtype=linear.dtype)
    return x @ kernel + jnp.expand_dims(bias, range(x.ndim - 1))
