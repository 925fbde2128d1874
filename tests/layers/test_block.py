"""The transformer block alone: what it computes where only some tokens are asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import recipe

from tokmerge_jax.layers.block import Block
from tokmerge_jax.merging import Tokens, ToMe


def test_only_some_tokens_leave_without_what_is_all_tokens_own():
    """They are those of the whole block without its merger; sizes and origin were of all."""
    x = jnp.asarray(recipe.video((2, 9, 8), 1))
    size = 1 + jnp.asarray(recipe.video((2, 9), 2)) ** 2
    tokens = Tokens(x, size, Tokens.traced(x).origin)
    params = Block(2).init(jax.random.key(0), Tokens(x))
    every = jax.jit(Block(2).apply)(params, tokens)
    some = jax.jit(Block(2, ToMe(3)).apply, static_argnums=2)(params, tokens, False, x[:, :2])
    np.testing.assert_allclose(some.x, every.x[:, :2], atol=1e-5)
    assert (some.size, some.origin) == (None, None)
