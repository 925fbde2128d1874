"""Packed tokens: what they lose, and what is no pack of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tokmerge_jax.own_videos.packing import pack, unpack

NUMBERS = st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False)


@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 9)), elements=NUMBERS))
def test_a_number_changes_by_half_a_step_of_its_token_at_most(tokens):
    packed = pack(tokens)
    assert len(packed) == tokens.shape[0] * (4 + tokens.shape[1])
    restored = unpack(packed, tokens.shape)
    largest = np.abs(tokens).max(axis=1, keepdims=True)
    normal = np.maximum(largest, 1e-30)  # smaller scales lose digits of their own
    assert np.all(np.abs(restored - tokens) <= normal / 253)


def test_steps_by_hand():
    tokens = np.array([[127, -63.4, 0.6], [0, 0, 0], [-0.0254, 0.0127, 0]], np.float32)
    steps = np.array([[127, -63, 1], [0, 0, 0], [-127, 64, 0]])
    scales = np.array([[1], [0], [0.0254 / 127]])
    np.testing.assert_allclose(unpack(pack(tokens), (3, 3)), steps * scales, rtol=1e-6)


@pytest.mark.parametrize("packed", [b"", b"\0" * 12, b"\0" * 22, b"\0" * 3])
def test_other_bytes_are_refused(packed):
    with pytest.raises(ValueError, match=r"reshape|size"):
        unpack(packed, (3, 3))
