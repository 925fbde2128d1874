"""The snippets of docs/python.md run as they stand and do what the page says of them."""

import pathlib
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.nnx import bridge

from tokmerge_jax import merging

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "python.md"


def snippet(name):
    match = re.search(rf"<!-- {name} snippet -->\n```python\n(.*?)```", PAGE.read_text(), re.S)
    assert match is not None
    return match[1]


def run(blocks):
    """Returns the blocks' results for two samples' tokens."""
    rng = np.random.default_rng(0)

    def draw(like):
        return 0.2 * rng.standard_normal(like.shape, like.dtype)

    tokens = merging.Tokens.traced(jnp.asarray(rng.standard_normal((2, 197, 24), np.float32)))
    # init would be a program of its own, long to compile
    params = jax.tree.map(draw, jax.eval_shape(blocks.init, jax.random.key(0), tokens))
    return jax.jit(blocks.apply)(params, tokens)


@pytest.fixture(scope="module")
def names():
    assert len([line for line in snippet("merging").splitlines() if line.strip()]) < 20
    names = {}
    exec(snippet("merging"), names)
    return names


@pytest.mark.slow
def test_merging_in_a_vit_of_ones_own(names):
    tokens = run(names["blocks"])
    assert sum(names["r"]) == 197 - 11
    assert tokens.x.shape == (2, 11, 24)
    assert np.isfinite(tokens.x).all()
    np.testing.assert_array_equal(tokens.size.sum(axis=1), [197, 197])
    np.testing.assert_array_equal(tokens.origin[:, 0], [0, 0])  # the class token stays first
    for origin, size in zip(tokens.origin, tokens.size, strict=True):
        np.testing.assert_array_equal(np.bincount(origin), size)


def test_the_same_block_serves_a_merger_that_reads_the_entropy(names):
    """Sources that are background vanish, so that sizes sum to less than the tokens."""
    mergers = merging.per_layer("vid_tldr", names["r"][:1], 1)
    tokens = run(nn.Sequential([names["Block"](12, merger) for merger in mergers]))
    assert tokens.x.shape == (2, 197 - 16, 24)
    assert np.isfinite(tokens.x).all()
    assert (tokens.size.sum(axis=1) < 197).all()
    assert (tokens.size.sum(axis=1) > 197 - 16).all()
    np.testing.assert_array_equal(tokens.origin[:, 0], [0, 0])


@pytest.mark.slow
def test_the_same_block_in_nnx(names):
    """Each block of NNX computes what the Linen block computes from the same parameters."""
    names = {**names, "r": names["r"][:2]}
    exec(snippet("nnx"), names)
    tokens = merging.Tokens(jnp.asarray(np.random.default_rng(0).standard_normal((2, 197, 24))))
    bridge.lazy_init(names["blocks"], tokens)

    def run(blocks, x):  # nnx.jit puts None in place of arrays, which the tests' checks refuse
        out = blocks(merging.Tokens(x))
        return out.x, out.size

    x, size = nnx.jit(run)(names["blocks"], tokens.x)
    assert x.shape == (2, 197 - 32, 24)
    for layer, merger in zip(names["blocks"].layers, names["mergers"], strict=True):
        params = nnx.to_pure_dict(nnx.state(layer, nnx.Param))
        tokens = names["Block"](12, merger).apply({"params": params}, tokens)
    np.testing.assert_allclose(x, tokens.x, atol=1e-5)
    np.testing.assert_array_equal(size, tokens.size)
