"""ToFu: what it drops, means that keep norms, a small ViT, and the third-party version."""

from functools import cache

import golden
import jax
import jax.numpy as jnp
import merger_edges
import numpy as np
import pytest
import recipe
import timm_vit
import umt_case

from tokmerge_jax.merging import Evidence, Tokens, ToMe, per_layer
from tokmerge_jax.merging.tofu import ToFu, ToFuCode
from tokmerge_jax.types import UserError

UNIT, VIT = golden.load("mergers-tofu"), golden.load("mergers-tofu-vit")


def close(ours, theirs):
    umt_case.close(ours, theirs, 1e-5)


@cache
def compiled(merger):
    """A function of tokens and keys, one of equal mergers."""
    return jax.jit(lambda tokens, keys: merger(tokens, Evidence(keys)))


@pytest.mark.slow
@pytest.mark.parametrize("case", sorted({"/".join(key.split("/")[:2]) for key in UNIT.arrays}))
def test_tofu_equals_the_reference_twice_in_a_row(case):
    """Dropping, norm-keeping means and those of the third-party code; then a merge with sizes."""
    expected = {
        key.removeprefix(f"{case}/"): value
        for key, value in UNIT.arrays.items()
        if key.startswith(f"{case}/")
    }
    tag, r = case.split("/")
    first, r = int(tag == "cls"), int(r[1:])
    metric, x = (jnp.asarray(recipe.video((2, 25, n), 7121 + i)) for i, n in enumerate((8, 6)))
    traced = Tokens.traced(x)
    close(compiled(ToFu(r, first))(Tokens(x), metric).x, expected["prune"])
    close(compiled(ToFuCode(r, first, merges=True))(traced, metric).x, expected["tofu"])
    tokens = compiled(ToFu(r, first, merges=True))(traced, metric)
    close(tokens.x, expected["mlerp"])
    np.testing.assert_array_equal(tokens.size, expected["size"])
    np.testing.assert_array_equal(tokens.origin, expected["origin"])
    left = tokens.x.shape[1]
    again = compiled(ToFu(max(1, (25 - left) // 2), first, merges=True))
    tokens = again(tokens, metric[:, :left])
    close(tokens.x, expected["second/mlerp"])
    np.testing.assert_array_equal(tokens.size, expected["second/size"])


@pytest.mark.parametrize("key", merger_edges.keys("tofu"))
def test_norms_at_the_edges(key):
    """r from 0 to more than there is, equal tokens, zero vectors."""
    x, r, protected, expected = merger_edges.case(key)
    close(compiled(ToFu(r, protected, merges=True))(Tokens(x), x).x, expected["x"])


def test_a_merged_token_has_the_largest_norm_of_its_group():
    """(3, 4) of norm 5 and (0.6, 0.8) of norm 1 point the same way; opposite tokens give 0."""
    x = jnp.array([[[3.0, 4.0], [0.6, 0.8], [-1, 0.5], [0, -1]]])
    keys = jnp.array([[[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]])
    tokens = compiled(ToFu(1, merges=True))(Tokens(x), keys)
    np.testing.assert_allclose(tokens.x[0], [[-1, 0.5], [3, 4], [0, -1]], rtol=1e-6)
    np.testing.assert_array_equal(tokens.size, [[1, 2, 1]])
    against = x.at[0, 1].set(-x[0, 0])
    np.testing.assert_array_equal(compiled(ToFu(1, merges=True))(Tokens(against), keys).x[0, 1], 0)


def test_a_small_vit_gives_what_the_third_party_code_gives():
    """Three blocks drop, the fourth merges; attention ignores sizes."""
    features, blocks = timm_vit.small(VIT, per_layer("tofu_code", VIT.config["r"], 1))
    for i, block in enumerate(blocks):
        umt_case.close(block["out"][0], VIT.arrays[f"block_{i}"], 1e-4)
    umt_case.close(features, VIT.arrays["features"], 1e-4)


def test_layers_and_cost():
    layers = per_layer("tofu", (2, 2, 2, 2))
    assert layers == (ToFu(2), ToFu(2), ToFu(2), ToFu(2, merges=True))
    assert ToFu(5, 1).macs(197, 768, 12) == ToMe(5, 1).macs(197, 768, 12)


def test_dropped_tokens_cannot_be_traced():
    x = jnp.asarray(recipe.video((1, 6, 4), 1))
    with pytest.raises(UserError, match="dropped tokens cannot be followed"):
        compiled(ToFu(2))(Tokens.traced(x), x)


@pytest.mark.parametrize("kind", [ToFu, ToFuCode])
def test_bfloat16_tokens_are_scaled_in_float32(kind):
    x = jnp.asarray(recipe.video((2, 9, 6), 5), jnp.bfloat16)
    merger = compiled(kind(3, 1, merges=True))
    half, full = (merger(Tokens(x.astype(dtype)), x) for dtype in (jnp.bfloat16, jnp.float32))
    assert half.x.dtype == jnp.bfloat16
    umt_case.close(half.x.astype(jnp.float32), full.x, 2**-7)
