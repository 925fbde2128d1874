"""Saliency against the original's numbers, and where the original divides 0 by 0."""

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
from hypothesis import given, settings
from hypothesis import strategies as st

from tokmerge_jax.merging import vid_tldr

foreground = jax.jit(vid_tldr.foreground)

CASE = golden.load("vidtldr-saliency")


@pytest.mark.parametrize("name", CASE.config)
def test_equals_the_original(name):
    shape = CASE.config[name]
    batch, heads, tokens = (shape[key] for key in ("B", "heads", "N"))
    logits = shape["scale"] * recipe.video((batch, heads, tokens, tokens), 545 + tokens)
    mean = np.asarray(jax.nn.softmax(jnp.asarray(logits))).mean(1)
    entropy = jax.scipy.special.xlogy(mean, mean).sum(-1)
    expected = CASE.arrays[f"{name}/negative_entropy"]
    np.testing.assert_allclose(entropy, expected, rtol=2e-4)
    for evidence in (entropy, jnp.asarray(expected)):
        weight = foreground(evidence)
        np.testing.assert_allclose(weight, CASE.arrays[f"{name}/saliency"], rtol=0, atol=1e-3)
        np.testing.assert_array_equal(weight == 0, CASE.arrays[f"{name}/background"] == 1)


@pytest.mark.parametrize("value", [-7.763, 0.0, -1e-30])
def test_equal_tokens_are_all_foreground(value):
    np.testing.assert_array_equal(foreground(jnp.full((2, 9), value)), np.ones((2, 9)))


def test_by_hand():
    """Mean -3: two tokens lie above it, by 1 and by 2."""
    weight = foreground(jnp.array([[-1.0, -4.0, -2.0, -5.0, -3.0]]))
    np.testing.assert_allclose(weight, [[1.0, 0.0, 0.5, 0.0, 0.0]])


@given(seed=st.integers(0, 999), tokens=st.sampled_from([1, 2, 30]), factor=st.floats(0.1, 10))
@settings(max_examples=30, deadline=None)
def test_scale_and_offset_do_not_matter(seed, tokens, factor):
    entropy = -np.random.default_rng(seed).random((2, tokens), np.float32)
    weight = foreground(jnp.asarray(entropy))
    assert float(weight.min()) >= 0
    np.testing.assert_allclose(weight.max(axis=1), [1, 1], rtol=1e-6)
    moved = foreground(jnp.asarray(entropy * np.float32(factor) - np.float32(2)))
    np.testing.assert_allclose(moved, weight, atol=1e-3)


def test_no_gradient_passes():
    gradient = jax.grad(lambda x: foreground(x).sum())(jnp.array([[-1.0, -2.0, -3.0]]))
    np.testing.assert_array_equal(gradient, np.zeros((1, 3)))
