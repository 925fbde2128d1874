"""Attention written out, and arrays to compare its forms on."""

import jax
import jax.numpy as jnp
import numpy as np

SCALE = 0.3


def plain(query, key, value, weight=None, *, scale=SCALE, cap=0.0):
    """The definition: outputs, and the negative entropy of the head-averaged map."""
    logits = scale * jnp.einsum("bnkd,bmkd->bknm", query, key, preferred_element_type=jnp.float32)
    if cap:
        logits = cap * jnp.tanh(logits / cap)
    visible = jnp.ones(key.shape[:2]) if weight is None else weight
    biased = logits + jnp.log(visible)[:, None, None, :]
    out = jnp.einsum("bknm,bmkd->bnkd", jax.nn.softmax(biased), value.astype(jnp.float32))
    hidden = jnp.where(visible > 0, 0.0, -jnp.inf)[:, None, None, :]
    mean = jax.nn.softmax(logits + hidden).mean(axis=1)
    return out, jax.scipy.special.xlogy(mean, mean).sum(axis=-1)


definition = jax.jit(plain)


def draw(batch, rows, keys, heads, width, seed=0, dtype=jnp.float32):
    rng = np.random.default_rng(seed)
    shapes = [(batch, n, heads, width) for n in (rows, keys, keys)]
    return [jnp.asarray(2 * rng.standard_normal(shape), dtype) for shape in shapes]


def weights(batch, keys, seed=0):
    """Sizes between 1 and 4, a third of them 0, the first never."""
    rng = np.random.default_rng(seed)
    weight = rng.uniform(1, 4, (batch, keys)) * (rng.random((batch, keys)) > 1 / 3)
    weight[:, 0] = 1.5
    return jnp.asarray(weight, jnp.float32)


def close(ours, theirs, tolerance=2e-5):
    theirs = np.asarray(theirs, np.float32)
    np.testing.assert_allclose(
        np.asarray(ours, np.float32), theirs, rtol=0, atol=tolerance * np.abs(theirs).max()
    )
