"""The transformer block alone: what it computes where only some tokens are asked for."""

import flax.linen as nn
import golden
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
    params = jax.jit(Block(2).init)(jax.random.key(0), Tokens(x))
    every = jax.jit(Block(2).apply)(params, tokens)
    some = jax.jit(Block(2, ToMe(3)).apply, static_argnums=2)(params, tokens, False, x[:, :2])
    np.testing.assert_allclose(some.x, every.x[:, :2], atol=1e-5)
    assert (some.size, some.origin) == (None, None)


def test_norms_are_internvideo2_s():
    """RMS norm with Flax's epsilon, which the blocks use; in half precision it rounds once."""
    case = golden.load("internvideo2-units")
    x, weights = jnp.asarray(case.arrays["inputs/x"]), case.weights()
    params = {"params": {"scale": jnp.asarray(weights["rms.weight"])}}
    np.testing.assert_allclose(
        jax.jit(nn.RMSNorm().apply)(params, x), case.arrays["rms"], atol=2e-6
    )
    half = jax.jit(nn.RMSNorm(dtype=jnp.float16).apply)(params, x.astype(jnp.float16))
    np.testing.assert_allclose(half, case.arrays["rms_fp16"], rtol=2e-3)
    params = {"params": {"scale": weights["ln.weight"], "bias": weights["ln.bias"]}}
    normed = jax.jit(nn.LayerNorm(1e-5).apply)(params, x)
    np.testing.assert_allclose(normed, case.arrays["layer_norm"], atol=2e-6)


def test_a_scale_per_channel_of_what_is_added():
    """Scales of 0 leave the tokens; those of 1 are the block without them."""
    x = jnp.asarray(recipe.video((2, 9, 8), 1))
    block, scales = Block(2, layer_scale=True), ("attention_scale", "mlp_scale")
    params = dict(Block(2).init(jax.random.key(0), Tokens(x))["params"])
    plain = jax.jit(Block(2).apply)({"params": params}, Tokens(x)).x
    for scale, wanted in ((0, x), (1, plain)):
        scaled = params | {name: jnp.full(8, 1.0 * scale) for name in scales}
        ours = jax.jit(block.apply)({"params": scaled}, Tokens(x)).x
        np.testing.assert_allclose(ours, wanted, atol=1e-6)
