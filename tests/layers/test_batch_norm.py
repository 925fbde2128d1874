"""Batch norm by its definition, with the unbiased variance in the running average."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tokmerge_jax.layers.batch_norm import BatchNorm

X = np.array([[[1.0, 2.0], [3.0, 2.0]], [[5.0, 2.0], [7.0, 6.0]]], np.float32)
VARIABLES = {
    "params": {"scale": np.array([1.0, 2.0]), "bias": np.array([0.5, 0.0])},
    "batch_stats": {"mean": np.array([4.0, 1.0]), "var": np.array([4.0, 9.0])},
}


def apply(x: Any = X, dtype=jnp.float32, **settings) -> Any:
    variables = jax.tree.map(jnp.float32, VARIABLES)
    return BatchNorm(dtype).apply(variables, jnp.asarray(x), **settings)


def test_running_statistics_norm_what_is_no_training():
    expected = [[(1 - 4) / 2 + 0.5, 2 * (2 - 1) / 3], [(3 - 4) / 2 + 0.5, 2 * (2 - 1) / 3]]
    np.testing.assert_allclose(apply()[0], expected, atol=1e-5)


def test_training_norms_by_the_batch_and_keeps_the_unbiased_variance():
    y, after = apply(train=True, mutable=["batch_stats"])
    # channel 0: mean 4, squares 9 + 1 + 1 + 9; channel 1: mean 3, squares 1 + 1 + 1 + 9
    np.testing.assert_allclose(y[0, 0], [-3 / 5**0.5 + 0.5, -2 / 3**0.5], rtol=1e-5)
    running = after["batch_stats"]
    np.testing.assert_allclose(running["mean"], [0.9 * 4 + 0.1 * 4, 0.9 * 1 + 0.1 * 3], rtol=1e-6)
    np.testing.assert_allclose(running["var"], [0.9 * 4 + 2 / 3, 0.9 * 9 + 0.4], rtol=1e-6)


def test_statistics_start_at_zero_and_one_and_are_no_parameters():
    made = BatchNorm().init(jax.random.key(0), jnp.asarray(X), train=True)
    assert made.keys() == {"params", "batch_stats"}
    np.testing.assert_array_equal(made["batch_stats"]["mean"], [0, 0])
    np.testing.assert_array_equal(made["batch_stats"]["var"], [1, 1])


def test_half_precision_is_normed_in_float32():
    """A mean far from zero would leave bfloat16 nothing of the differences."""
    x = jnp.asarray(X + np.float32(4096), jnp.float32)
    y, after = apply(x, jnp.bfloat16, train=True, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    assert after["batch_stats"]["var"].dtype == jnp.float32
    np.testing.assert_allclose(y[0, 0].astype(jnp.float32), [-0.84, -1.155], atol=0.01)
