"""VideoPrism's pieces against the original: norm, capped attention, positions, interpolation."""

import functools

import clip_case
import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokmerge_jax import kernels
from tokmerge_jax.layers.functional import gelu, patchify, unit
from tokmerge_jax.layers.norm import OffsetNorm
from tokmerge_jax.layers.positions import linear_grid, linear_times, sincos_halves

CASE = golden.load("videoprism-units")
GIVEN = {
    name.removeprefix("inputs/"): jnp.asarray(array)
    for name, array in CASE.arrays.items()
    if name.startswith("inputs/")
}
close = functools.partial(clip_case.close, tolerance=1e-5)


@pytest.mark.parametrize("form", ["blocks", "whole", "pallas"])
@pytest.mark.parametrize("cap", [50, 0])
def test_capped_attention(form, cap):
    arrays = [GIVEN[name] for name in ("query", "key", "value")]
    y, entropy = kernels.attention(*arrays, scale=0.25, cap=float(cap), form=form, entropy=True)
    close(y, CASE.arrays[f"attention_cap_{cap}"])
    mean = CASE.arrays[f"probabilities_cap_{cap}"].mean(axis=1)
    close(entropy, (mean * np.log(mean)).sum(axis=-1))


def test_the_cap_comes_before_sizes():
    query, key, value = (GIVEN[name] for name in ("query", "key", "value"))
    weight = jnp.array([[1, 2, 3, 1, 1, 5]], jnp.float32)
    logits = 0.25 * np.einsum("bnkd,bmkd->bknm", query, key)
    shares = np.asarray(jax.nn.softmax(3 * np.tanh(logits / 3) + jnp.log(weight)[:, None, None]))
    y, _ = kernels.attention(query, key, value, weight, scale=0.25, cap=3.0, form="blocks")
    close(y, np.einsum("bknm,bmkd->bnkd", shares, value))


@pytest.mark.parametrize("cap", [50, 0])
def test_what_capped_attention_gives_each_token(cap):
    key = GIVEN["key"][:, :5]
    logits = 0.25 * np.einsum("bnkd,bmkd->bknm", GIVEN["query"], key)
    mean = np.array(jax.nn.softmax(cap * np.tanh(logits / cap) if cap else logits)).mean(axis=1)
    mean[:, np.arange(5), np.arange(5)] = 0
    received = kernels.received(GIVEN["query"], key, scale=0.25, cap=float(cap))
    close(received, mean.sum(axis=1))


def test_cudnn_is_not_chosen_for_capped_logits():
    for platform in ("gpu", "tpu"):
        for rows, form in ((65, "pallas"), (16, "whole"), (4096, "pallas")):
            given = (platform, jnp.bfloat16, rows, rows, 64)
            assert kernels.choose(*given, entropy=False, capped=True) == form
    arrays = [GIVEN[name] for name in ("query", "key", "value")]
    with pytest.raises(ValueError, match="neither a cap of logits nor the entropy"):
        kernels.attention(*arrays, scale=0.25, cap=50.0, form="cudnn")


def test_the_norm_keeps_the_difference_from_one():
    params = {"scale": GIVEN["norm_scale"], "bias": GIVEN["norm_bias"]}
    ours = OffsetNorm().apply({"params": params}, GIVEN["norm"])
    clip_case.close(ours, CASE.arrays["normalised"], 5e-4)
    fresh = OffsetNorm(dtype=jnp.bfloat16).init_with_output(jax.random.key(0), GIVEN["norm"][:3])
    assert fresh[0].dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(fresh[0], np.float32).std(axis=-1), 1, atol=0.01)


def test_unit_vectors_gelu_and_patches():
    norm = GIVEN["norm"]
    close(unit(norm), CASE.arrays["l2"])
    close(gelu(norm - 3), CASE.arrays["gelu"])
    patches = patchify(GIVEN["image"][:, None], 6)
    np.testing.assert_array_equal(patches, CASE.arrays["patches"])


@pytest.mark.parametrize("width", [768, 1024])
def test_text_positions(width):
    rows = sincos_halves(65, width)[[0, 1, 2, 31, 63, 64]]
    close(rows, CASE.arrays[f"text_positions_{width}"])


@pytest.mark.parametrize("frames", [1, 5, 8, 12, 16, 24, 32])
def test_times_are_interpolated(frames):
    table = GIVEN["time_table"]
    close(linear_times(table, frames), CASE.arrays.get(f"time_{frames}", table))


@pytest.mark.parametrize("size", [(8, 8), (14, 14), (21, 21), (12, 20)])
def test_grids_are_interpolated(size):
    ours = linear_grid(GIVEN["grid_table"], 16, *size, antialias=True)
    close(ours, CASE.arrays["grid_{}x{}".format(*size)])
