"""GELU against its definition, in values and gradients."""

import math

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokmerge_jax.layers.functional import gelu, gelu_tanh

X = np.linspace(-9, 9, 1001, dtype=np.float32)


def exact(x):
    """x times the share of normal numbers below it, and the slope."""
    below = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x.astype(float)])
    return x * below, below + x * np.exp(-0.5 * x.astype(float) ** 2) / math.sqrt(2 * math.pi)


@pytest.mark.parametrize(
    ("dtype", "rtol"), [(jnp.float32, 0), (jnp.bfloat16, 2.0**-8)], ids=["float32", "bfloat16"]
)
def test_gelu(dtype, rtol):
    """Checks that in half precision only the result is rounded."""
    x = jnp.asarray(X, dtype)
    value, slope = exact(np.asarray(x, np.float32))
    slopes = jax.jit(jax.grad(lambda x: gelu(x).sum()))(x)
    for got, want in ((jax.jit(gelu)(x), value), (slopes, slope)):
        assert got.dtype == dtype
        np.testing.assert_allclose(np.asarray(got, np.float32), want, rtol=rtol, atol=2e-6)


def test_gelu_by_tanh_is_internvideo2_s():
    case = golden.load("internvideo2-units")
    x = jnp.asarray(case.arrays["inputs/x"])
    np.testing.assert_allclose(gelu_tanh(x), case.arrays["gelu_tanh"], atol=1e-6)
    np.testing.assert_allclose(gelu(x), case.arrays["gelu_exact"], atol=1e-6)
    assert np.abs(gelu_tanh(x) - gelu(x)).max() > 1e-4
    assert gelu_tanh(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
