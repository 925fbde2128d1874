"""Layer norm whose scale is stored as its difference from one.

Source: VideoPrism (ICML 2024), its released weights.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float


class OffsetNorm(nn.Module):
    """(x - mean) / sqrt(variance + epsilon) * (1 + scale) + bias over the channels, in float32.

    Attributes:
      epsilon: added to the variance.
      dtype: of the result.
    """

    epsilon: float = 1e-6
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*any C"]) -> Float[Array, "*any C"]:
        """Normalises the last axis."""
        zeros = nn.initializers.zeros_init()
        scale, bias = (self.param(name, zeros, x.shape[-1:]) for name in ("scale", "bias"))
        plain = nn.LayerNorm(
            self.epsilon,
            dtype=jnp.float32,
            use_bias=False,
            use_scale=False,
            use_fast_variance=False,  # that of E[x^2] - E[x]^2, which rounds small variances away
        )
        scale, bias = (jnp.expand_dims(y, range(x.ndim - 1)) for y in (scale, bias))
        return (plain(x) * (1 + scale) + bias).astype(self.dtype)
