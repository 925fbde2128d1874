"""Samples in parts, as a CPU takes them."""

import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokmerge_jax import kernels, parallel
from tokmerge_jax.layers.block import Block
from tokmerge_jax.merging import Tokens, ToMe

PARTS = sys.modules["tokmerge_jax.kernels.microbatch"]


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    monkeypatch.setattr(parallel, "batch_shards", lambda: 1)


def calls(batch):
    """How many samples each call of the function gets."""
    seen = []
    kernels.few_at_a_time(lambda x: seen.append(len(x)) or x, (jnp.ones((batch, 2)),), 10)
    return seen


@pytest.mark.parametrize(
    ("batch", "rows", "expected"),
    [
        (6, 60, [6]),
        (6, 59, [3, 3]),
        (6, 20, [2, 2, 2]),
        (6, 1, [2, 2, 2]),  # 4 parts at most, of one size
        (8, 1, [2, 2, 2, 2]),
        (7, 1, [7]),
        (1, 1, [1]),
    ],
)
def test_parts_are_few_and_equal(batch, rows, expected, monkeypatch):
    monkeypatch.setattr(PARTS, "_ROWS", rows)
    assert calls(batch) == expected


@pytest.mark.parametrize(("backend", "ways"), [("gpu", 1), ("cpu", 2)])
def test_accelerators_and_many_devices_take_all_at_once(backend, ways, monkeypatch):
    monkeypatch.setattr(PARTS, "_ROWS", 1)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(parallel, "batch_shards", lambda: ways)
    assert calls(8) == [8]


@pytest.mark.slow
def test_a_block_in_parts_computes_what_the_whole_does(monkeypatch):
    """Tokens, sizes and gradients, of a block that merges."""
    layer = Block(2, ToMe(r=2, class_tokens=1))
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((6, 9, 8), np.float32))
    size = jnp.asarray(rng.integers(1, 4, (6, 9)), jnp.float32)
    params = layer.init(jax.random.key(0), Tokens(x, size))

    def run(params, x):
        apply = lambda tokens: layer.apply(params, tokens)  # noqa: E731
        out = kernels.few_at_a_time(apply, (Tokens(x, size),), 9)
        return jnp.square(out.x).sum(), out

    compute = jax.value_and_grad(run, argnums=(0, 1), has_aux=True)
    whole = compute(params, x)
    monkeypatch.setattr(PARTS, "_ROWS", 18)
    chex.assert_trees_all_close(compute(params, x), whole, rtol=1e-5, atol=1e-5)
