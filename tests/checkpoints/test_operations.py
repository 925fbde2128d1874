"""Operations between layouts: by definition, and back bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokmerge_jax.checkpoints.operations import Patches, Split, Transpose
from tokmerge_jax.names import Identity


def numbers(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_linear_layer_keeps_its_product():
    weight, x = numbers(2, 3), numbers(4, 3)
    (kernel,) = Transpose().forward(weight)
    np.testing.assert_array_equal(x @ kernel, x @ weight.T)


def test_split_gives_query_key_value_in_order():
    stacked = numbers(6, 4)
    query, key, value = Split(3).forward(stacked)
    np.testing.assert_array_equal(query, stacked[:2].T)
    np.testing.assert_array_equal(key, stacked[2:4].T)
    np.testing.assert_array_equal(value, stacked[4:].T)


def test_patches_go_by_row_column_colour():
    weight = numbers(5, 3, 1, 2, 2)  # output, colour, frame, row, column
    (kernel,) = Patches().forward(weight)
    for row, column, colour in np.ndindex(2, 2, 3):
        place = (row * 2 + column) * 3 + colour
        np.testing.assert_array_equal(kernel[place], weight[:, colour, 0, row, column])


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), st.data())
def test_back_is_bit_for_bit(parts, width, edge, data):
    operation, shape = data.draw(
        st.sampled_from(
            [
                (Identity(), (width, edge)),
                (Transpose(), (width, edge)),
                (Split(parts), (parts * width, edge)),
                (Patches(), (width, 3, 1, edge, edge)),
                (Patches(parts), (width, parts, 1, edge, edge)),
            ]
        )
    )
    bits = data.draw(st.integers(0, 2**32 - 1))
    source = (numbers(*shape).astype(np.uint32) + np.uint32(bits)).view(np.float32)  # NaN too
    back = operation.backward(operation.forward(source))
    assert back.shape == source.shape
    assert np.ascontiguousarray(back).tobytes() == source.tobytes()


@pytest.mark.parametrize(
    ("operation", "shape"),
    [
        (Transpose(), (3,)),
        (Split(3), (7, 2)),
        (Split(3), (6,)),
        (Patches(), (5, 3, 2, 2, 2)),
        (Patches(), (5, 4, 1, 2, 2)),
        (Patches(), (5, 3, 1, 2, 3)),
        (Patches(), (5, 3)),
    ],
)
def test_shapes_that_cannot_work(operation, shape):
    with pytest.raises(ValueError, match=r"."):
        operation.forward(numbers(*shape))
