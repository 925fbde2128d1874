"""Two linear steps in one, a CPU shortcut; Flax's interceptors do not see these layers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tokmerge_jax.layers.functional import product


def fused_dense_dense(
    first: nn.Dense, second: nn.Dense, x: Float[Array, "*any C"]
) -> Float[Array, "*any D"]:
    """Computes `second(first(x))` with one kernel, the product of both kernels.

    The kernels are multiplied with each other once, instead of all of `x` with both.
    """
    if first.is_initializing():
        return second(first(x))
    first_params, second_params = (layer.variables["params"] for layer in (first, second))
    kernel = first_params["kernel"] @ second_params["kernel"]
    bias = first_params["bias"] @ second_params["kernel"] + second_params["bias"]
    return _linear(x, kernel, bias, second.dtype)


def fused_norm_dense(norm: nn.LayerNorm, linear: nn.Dense, x: Float[Array, "*any C"]) -> Array:
    """Computes `linear(norm(x))` with the norm's scale and bias folded into the linear layer.

    If x needs no gradient, this saves a product in the gradients of scale and bias.
    """
    if norm.is_initializing():
        return linear(norm(x))
    plain = nn.LayerNorm(norm.epsilon, dtype=linear.dtype, use_bias=False, use_scale=False)
    first_params, second_params = (layer.variables["params"] for layer in (norm, linear))
    kernel = first_params["scale"][:, None] * second_params["kernel"]
    bias = first_params["bias"] @ second_params["kernel"] + second_params["bias"]
    return _linear(plain(x), kernel, bias, linear.dtype)


def _linear(x: jax.Array, kernel: jax.Array, bias: jax.Array, dtype: DTypeLike | None) -> jax.Array:
    x, kernel, bias = promote_dtype(x, kernel, bias, dtype=dtype)
    return product(x, kernel) + jnp.expand_dims(bias, range(x.ndim - 1))
