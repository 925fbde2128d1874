"""Packed tokens: what they lose, and what is no pack of them."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tokmerge_jax.own_videos.packing import merged, pack, unpack

MERGED = jax.jit(merged, static_argnums=1)
NUMBERS = st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False)


@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 9)), elements=NUMBERS))
def test_a_number_changes_by_half_a_step_of_its_token_at_most(tokens):
    packed = pack(tokens, np.ones(len(tokens), int))
    assert len(packed) == tokens.shape[0] * (8 + tokens.shape[1])
    restored = unpack(packed, tokens.shape)
    largest = np.abs(tokens).max(axis=1, keepdims=True)
    normal = np.maximum(largest, 1e-30)  # smaller scales lose digits of their own
    assert np.all(np.abs(restored - tokens) <= normal / 253)


def test_steps_by_hand():
    tokens = np.array([[127, -63.4, 0.6], [0, 0, 0], [-0.0254, 0.0127, 0]], np.float32)
    steps = np.array([[127, -63, 1], [0, 0, 0], [-127, 64, 0]])
    scales = np.array([[1], [0], [0.0254 / 127]])
    restored = unpack(pack(tokens, np.array([1, 2, 1])), (4, 3))
    np.testing.assert_allclose(restored, (steps * scales)[[0, 1, 1, 2]], rtol=1e-6)


PACKED = pack(np.ones((3, 3), np.float32), np.ones(3, int))


@pytest.mark.parametrize(
    "packed", [b"", bytes(33), PACKED[:-1], PACKED + b"\0", bytes(3), b"\xff" * 33]
)
def test_other_bytes_are_refused(packed):
    with pytest.raises(ValueError, match=r"reshape|size"):
        unpack(packed, (3, 3))


@pytest.mark.parametrize(("length", "count"), [(1, 1), (5, 9), (9, 2)])
def test_merged_tokens_keep_number_and_sum(length, count):
    x = np.random.default_rng(0).standard_normal((2, length, 3), np.float32)
    tokens, sizes = MERGED(x, count)
    assert tokens.shape == (2, min(length, count), 3)
    np.testing.assert_array_equal(np.sum(sizes, axis=1), length)
    total = np.sum(tokens * sizes[..., None], axis=1)
    np.testing.assert_allclose(total, x.sum(axis=1), atol=1e-4)


def test_equal_tokens_merge_first():
    kinds = np.array([[4, 0, 0], [0, 4, 0], [0, 0, 4]], np.float32)
    tokens, sizes = MERGED(kinds[[0, 0, 1, 1, 2, 2, 0, 0]][None], 3)
    by_kind = np.argsort(np.argmax(tokens[0], axis=1))
    np.testing.assert_allclose(tokens[0][by_kind], kinds, atol=1e-6)
    np.testing.assert_array_equal(sizes[0][by_kind], [4, 2, 2])


def test_copies_are_proportional_attention():
    """softmax(q k + log size) v, by definition."""
    rng = np.random.default_rng(0)
    tokens, sizes = rng.standard_normal((6, 8)).astype(np.float32), np.array([1, 7, 2, 1, 3, 2])
    query, key, value = rng.standard_normal((5, 8)), *rng.standard_normal((2, 8, 8))
    whole = unpack(pack(tokens, np.ones(6, int)), (6, 8))

    def attention(tokens, bias):
        weight = np.exp(query @ (tokens @ key).T + bias)
        return weight / weight.sum(axis=1, keepdims=True) @ (tokens @ value)

    copied = attention(unpack(pack(tokens, sizes), (16, 8)), 0)
    np.testing.assert_allclose(copied, attention(whole, np.log(sizes)), rtol=1e-6)
