"""Attention in blocks against attention written out, in values, gradients and memory."""

import math
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attention_case import SCALE, close, definition, draw, plain, weights
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tokmerge_jax.kernels import attention
from tokmerge_jax.kernels.attention import blocks

run = jax.jit(partial(attention, scale=SCALE), static_argnames="entropy")


@given(
    batch=st.integers(1, 3),
    rows=st.integers(1, 33),
    keys=st.integers(1, 33),
    heads=st.integers(1, 4),
    width=st.integers(1, 9),
    weighted=st.booleans(),
    entropy=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=10, deadline=None)
def test_equals_the_definition(batch, rows, keys, heads, width, weighted, entropy, seed):
    arrays = draw(batch, rows, keys, heads, width, seed)
    weight = weights(batch, keys, seed) if weighted else None
    out, seen = run(*arrays, weight, entropy=entropy)
    expected = definition(*arrays, weight)
    close(out, expected[0])
    if entropy:
        np.testing.assert_allclose(seen, expected[1], atol=1e-5)
    else:
        assert seen is None


@pytest.mark.parametrize("weighted", [False, True])
def test_several_blocks_of_queries(weighted):
    """1301 queries need two blocks and one query of padding."""
    arrays = draw(2, 1301, 1301, 2, 8)
    weight = weights(2, 1301) if weighted else None
    out, entropy = run(*arrays, weight, entropy=True)
    expected = definition(*arrays, weight)
    close(out, expected[0])
    np.testing.assert_allclose(entropy, expected[1], atol=2e-5)


def test_samples_in_groups(monkeypatch):
    """However many samples a step takes, each gets its own result."""
    arrays, weight = draw(6, 10, 12, 3, 4), weights(6, 12)
    expected = definition(*arrays, weight)
    for numbers in (1, 240, 360, 10**6):
        monkeypatch.setattr(blocks, "_TOGETHER", numbers)
        fresh = jax.jit(partial(attention, scale=SCALE, entropy=True))
        out, entropy = fresh(*arrays, weight)
        close(out, expected[0])
        np.testing.assert_allclose(entropy, expected[1], atol=1e-5)


def test_padding_is_nobody():
    """Keys of weight 0 might as well not exist, however loud they are."""
    query, key, value = draw(2, 9, 7, 2, 4)
    loud = jnp.concatenate([1e3 * key[:, :3], key], axis=1)
    noise = jnp.concatenate([1e3 * value[:, :3], value], axis=1)
    weight = jnp.concatenate([jnp.zeros((2, 3)), jnp.ones((2, 7))], axis=1)
    padded = run(query, loud, noise, weight, entropy=True)
    expected = run(query, key, value, entropy=True)
    close(padded[0], expected[0])
    np.testing.assert_allclose(padded[1], expected[1], atol=1e-5)


def test_a_size_is_a_number_of_copies():
    query, key, value = draw(1, 5, 3, 2, 4)
    copies = jnp.array([1, 4, 2])
    repeated = [jnp.repeat(x, copies, axis=1) for x in (key, value)]
    size = copies[None].astype(jnp.float32)
    close(
        run(query, key, value, size)[0],
        run(query, *repeated)[0],
    )


def test_entropy_by_hand():
    """Two heads that look at one key each, another one: the mean map is (1/2, 1/2)."""
    query = jnp.array([[[[100.0], [100.0]]]])
    key = jnp.array([[[[1.0], [0.0]], [[0.0], [1.0]]]])
    out, entropy = attention(query, key, key, scale=1.0, entropy=True)
    assert entropy is not None
    np.testing.assert_allclose(out, [[[[1.0], [1.0]]]], atol=1e-6)
    np.testing.assert_allclose(entropy, [[-np.log(2)]], rtol=1e-6)
    _, certain = attention(query[:, :, :1], key[:, :, :1], key[:, :, :1], scale=9.0, entropy=True)
    np.testing.assert_array_equal(certain, [[0.0]])  # 0 log 0 = 0


def test_large_logits_do_not_overflow():
    query, key, value = draw(1, 6, 8, 2, 4)
    out, entropy = run(300 * query, 300 * key, value, entropy=True)
    close(out, definition(300 * query, 300 * key, value)[0])
    assert np.isfinite(entropy).all()


def test_bfloat16_softmax_is_float32():
    arrays = draw(2, 40, 50, 3, 16, dtype=jnp.bfloat16)
    weight = weights(2, 50)
    out, entropy = run(*arrays, weight, entropy=True)
    expected = definition(*(x.astype(jnp.float32) for x in arrays), weight)
    assert out.dtype == jnp.bfloat16
    assert entropy.dtype == jnp.float32
    close(out, expected[0], 2e-2)
    np.testing.assert_allclose(entropy, expected[1], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rows", [9, 1203])
def test_gradients_equal_those_of_the_definition(rows, weighted):
    arrays = draw(2, rows, 11, 2, 4)
    weight = weights(2, 11) if weighted else None
    towards = jnp.asarray(np.random.default_rng(3).standard_normal(arrays[0].shape), jnp.float32)

    def loss(function, *arrays):
        out, entropy = function(*arrays, weight, scale=SCALE)
        return (out * towards).sum() + (
            0.0 if entropy is None else jax.lax.stop_gradient(entropy).sum()
        )

    expected = jax.jit(jax.grad(partial(loss, plain), (0, 1, 2)))(*arrays)
    for kernel in (attention, partial(attention, entropy=True)):
        gradients = jax.jit(jax.grad(partial(loss, kernel), (0, 1, 2)))(*arrays)
        for ours, theirs in zip(gradients, expected, strict=True):
            close(ours, theirs)


def test_no_gradient_through_the_entropy():
    arrays = draw(1, 5, 5, 2, 3)
    gradients = jax.grad(lambda *x: jnp.sum(run(*x, entropy=True)[1]), (0, 1))(*arrays)
    assert all((g == 0).all() for g in gradients)


def test_gradient_of_positive_weights():
    arrays, weight = draw(2, 6, 7, 2, 3), weights(2, 7) + 1.0

    def loss(function, w):
        return (function(*arrays, w, scale=SCALE)[0] ** 2).sum()

    ours, theirs = (jax.jit(jax.grad(partial(loss, f)))(weight) for f in (attention, plain))
    close(ours, theirs, 1e-4)


def sizes(program, minimum):
    """Numbers in the arrays of a compiled program that hold at least `minimum`."""
    shapes = re.findall(r"\b(?:f|bf)\d+\[([\d,]+)\]", program.as_text())
    return sorted({n for s in shapes if (n := math.prod(map(int, s.split(",")))) >= minimum})


@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize("tokens", [256, 1452])
def test_one_heads_block_is_the_largest_map(tokens, entropy):
    arrays = draw(1, tokens, tokens, 8, 4)
    assert sizes(run.lower(*arrays, entropy=entropy).compile(), tokens**2 + 1) == []
    loss = jax.jit(jax.grad(lambda *x: run(*x, entropy=entropy)[0].sum(), (0, 1, 2)))
    assert sizes(loss.lower(*arrays).compile(), tokens**2 + 1) == []


@pytest.mark.parametrize("entropy", [False, True])
def test_a_sharded_batch_stays_where_it_is(entropy):
    arrays, weight = draw(16, 12, 12, 2, 4), weights(16, 12)
    expected = definition(*arrays, weight)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    rows = NamedSharding(mesh, PartitionSpec("data"))
    with jax.set_mesh(mesh):
        inputs = jax.device_put((*arrays, weight), rows)
        program = run.lower(*inputs, entropy=entropy).compile()
        out, seen = program(*inputs)
    assert "all-gather" not in str(program.as_text())
    assert out.sharding.is_equivalent_to(rows, 4)
    close(out, expected[0])
    if entropy:
        np.testing.assert_allclose(seen, expected[1], atol=1e-5)
