"""Two linear layers with nothing between them, as one."""

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
