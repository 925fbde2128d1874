"""The README's snippet runs as it stands and does what the README says of it."""

import pathlib
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokmerge_jax import merging

README = pathlib.Path(__file__).parents[1] / "README.md"


def snippet():
    match = re.search(r"<!-- merging snippet -->\n```python\n(.*?)```", README.read_text(), re.S)
    assert match is not None
    return match[1]


def run(blocks):
    """What the blocks make of two samples' tokens."""
    rng = np.random.default_rng(0)

    def draw(like):
        return 0.2 * rng.standard_normal(like.shape, like.dtype)

    tokens = merging.Tokens.traced(jnp.asarray(rng.standard_normal((2, 197, 24), np.float32)))
    # init would be a program of its own, long to compile
    params = jax.tree.map(draw, jax.eval_shape(blocks.init, jax.random.key(0), tokens))
    return jax.jit(blocks.apply)(params, tokens)


@pytest.fixture(scope="module")
def names():
    assert len([line for line in snippet().splitlines() if line.strip()]) < 20
    names = {}
    exec(snippet(), names)
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
