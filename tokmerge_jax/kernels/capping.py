"""Soft caps of attention's logits.

Source: VideoPrism (ICML 2024), its released code.
"""

import jax
import jax.numpy as jnp


def capped(logits: jax.Array, cap: float) -> jax.Array:
    """Returns cap tanh(logits / cap), which is below `cap`; unchanged logits if it is 0."""
    return cap * jnp.tanh(logits / cap) if cap else logits
