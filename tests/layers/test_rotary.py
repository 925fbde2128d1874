"""Rotary positions against the original's, and against what a rotation is."""

import golden
import jax.numpy as jnp
import numpy as np
import pytest
from clip_case import close
from einops import rearrange
from hypothesis import given
from hypothesis import strategies as st

from tokmerge_jax.layers.positions import places
from tokmerge_jax.layers.rotary import angles, rotation

CASE = golden.load("pecore-rope")


def turned(x, position):
    """x [B,K,N,D] as the original lays it out, rotated."""
    x = rearrange(jnp.asarray(x), "b k n d -> b n k d")
    return rearrange(rotation(position, x.shape[-1])(x), "b n k d -> b k n d")


@pytest.mark.parametrize("case", range(len(CASE.config["cases"])))
def test_on_a_grid(case):
    spec = CASE.config["cases"][case]
    rows, columns = spec["grid_hw"]
    position = jnp.asarray(places(rows, columns, int(spec["class_token"])))[None]
    ours = np.repeat(angles(position, spec["head_width"])[0], 2, axis=-1)
    close(ours, CASE.arrays[f"angle_{case}"], 1e-6)
    x = CASE.arrays[f"inputs/q_{case}"]
    close(turned(x, position), CASE.arrays[f"rotated_{case}"], 1e-6)
    half = turned(jnp.asarray(x, jnp.bfloat16), position)
    assert half.dtype == jnp.bfloat16
    close(half.astype(jnp.float32), CASE.arrays[f"rotated_{case}"], 8e-3)


def test_anywhere():
    position = jnp.asarray(CASE.arrays["inputs/position_free"])
    ours = np.repeat(angles(position, 64), 2, axis=-1)
    close(ours, CASE.arrays["angle_free"], 1e-6)
    close(turned(CASE.arrays["inputs/q_free"], position), CASE.arrays["rotated_free"], 1e-6)


@given(st.lists(st.floats(-50, 50, width=32), min_size=4, max_size=4))
def test_products_depend_on_differences_of_places(shift):
    """And lengths stay."""
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=(1, 1, 2, 16)), jnp.float32)
    first, move = np.array(shift[:2], np.float32), np.array(shift[2:], np.float32)
    place = np.stack([first, np.zeros(2, np.float32)])[None]
    here, there = (np.asarray(turned(x, jnp.asarray(p)))[0, 0] for p in (place, place + move))
    np.testing.assert_allclose(here[0] @ here[1], there[0] @ there[1], atol=5e-4)
    np.testing.assert_allclose((here**2).sum(-1), (np.asarray(x)[0, 0] ** 2).sum(-1), rtol=1e-5)
