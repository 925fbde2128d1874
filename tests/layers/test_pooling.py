"""Attention pooling against the original, and sizes against tokens that are repeated."""

import functools

import golden
import jax
import jax.numpy as jnp
import numpy as np
import recipe
from clip_case import close

from tokmerge_jax.checkpoints.rules import RuleSet, load
from tokmerge_jax.checkpoints.tables import internvideo2, pe_core
from tokmerge_jax.layers.pooling import AttentionPooling, MeanAttentionPooling

CASE = golden.load("pecore-pool")
POOL = AttentionPooling(CASE.config["heads"], 1e-5)
X = jnp.asarray(recipe.video((2, 17, 192), seed=513))


@functools.cache
def params():
    rules = pe_core.rules(0, 0, embed_dim=1)[-1].rules
    table = RuleSet(tuple(r for r in rules if r.source in CASE.spec["shapes"]))
    shapes = jax.eval_shape(POOL.init, jax.random.key(0), X)["params"]
    return {"params": load(table, CASE.weights(), {"pool": shapes})["pool"]}


def test_equals_the_original():
    close(jax.jit(POOL.apply)(params(), X), CASE.arrays["pooled"], 2e-5)
    size = jnp.asarray(CASE.arrays["inputs/size"], jnp.float32)
    close(jax.jit(POOL.apply)(params(), X, size), CASE.arrays["pooled_sized"], 2e-5)


def test_a_token_of_size_s_counts_as_s_tokens():
    size = np.array([[1, 3, 2, 1]])
    x = X[:1, :4]
    repeated = jnp.repeat(x, size[0], axis=1)
    pool = jax.jit(POOL.apply)
    sized = pool(params(), x, jnp.asarray(size, jnp.float32))
    close(sized, pool(params(), repeated), 1e-5)


UNITS = golden.load("internvideo2-units")
MEAN_POOL = MeanAttentionPooling(UNITS.config["heads"], 20)


@functools.cache
def mean_params():
    names = "vision_encoder.clip_projector."
    weights = {n.replace("pool.", names): x for n, x in UNITS.weights().items() if "pool" in n}
    table = RuleSet(tuple(r for r in internvideo2.rules(0, 0).rules if r.source in weights))
    x = jnp.asarray(UNITS.arrays["inputs/x"])
    shapes = jax.eval_shape(MEAN_POOL.init, jax.random.key(0), x)["params"]
    return {"params": load(table, weights, {"pool": shapes})["pool"]}


def test_the_mean_reads_the_tokens_as_the_original():
    x = jnp.asarray(UNITS.arrays["inputs/x"])
    close(jax.jit(MEAN_POOL.apply)(mean_params(), x), UNITS.arrays["pool"], 2e-5)


def test_the_mean_of_sized_tokens_reads_as_if_they_were_repeated():
    size = np.array([[1, 3, 2, 1]])
    x = jnp.asarray(UNITS.arrays["inputs/x"])[:1, :4]
    pool = jax.jit(MEAN_POOL.apply)
    sized = pool(mean_params(), x, jnp.asarray(size, jnp.float32))
    close(sized, pool(mean_params(), jnp.repeat(x, size[0], axis=1)), 1e-5)
    assert np.abs(sized - pool(mean_params(), x)).max() > 1e-3
