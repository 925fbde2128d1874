"""MCTF: what it merges by its three criteria, small blocks, its evidence and cost."""

from functools import cache, partial

import golden
import jax
import jax.numpy as jnp
import merger_edges
import numpy as np
import pytest
import recipe
import timm_vit
import umt_case
from einops import rearrange

from tokmerge_jax import kernels
from tokmerge_jax.layers.block import Block
from tokmerge_jax.merging import Evidence, Tokens, costs, matching, mctf, merge
from tokmerge_jax.merging.mctf import MCTF, MCTFAhead, MCTFPrecise

UNIT, BLOCKS = golden.load("mergers-mctf"), golden.load("mergers-mctf-blocks")
FORMS = {"ahead0": MCTF, "ahead1": MCTFAhead, "ahead2": MCTFPrecise}
CASES = sorted({key.rpartition("/")[0] for key in UNIT.arrays})


def close(ours, theirs):
    umt_case.close(ours, theirs, 1e-5)


def inputs():
    """Tokens, their attention map and sizes."""
    x, logits = recipe.video((2, 15, 6), 7141), 2 * recipe.video((2, 2, 15, 15), 7142)
    size = recipe.token_ids((2, 15), 6, 7143).astype(np.float32)
    return jnp.asarray(x), jax.nn.softmax(jnp.asarray(logits)), jnp.asarray(size)


@cache
def compiled(merger):
    return jax.jit(lambda tokens, attended: merger(tokens, Evidence(attended=attended)))


@partial(jax.jit, static_argnums=(3, 4, 5, 6))
def pairs(x, attended, size, class_tokens, temperatures, r, both):
    """The pairs in both directions, or from even to odd places alone."""
    score = mctf.attraction(x, attended, size, class_tokens, temperatures)
    if both:
        return mctf.both_ways(score, r, class_tokens)
    best, partner = score.max(axis=2), score.argmax(axis=2)
    return matching.best_pairs(best, partner, r, x.shape[1], class_tokens, class_tokens > 0)


@partial(jax.jit, static_argnums=5)
def merged(groups, x, attention, attended, size, pool):
    """Places, sizes, tokens and the attention map after merging."""
    mean = {
        "pool0": lambda x: merge.weighted_mean(groups, x, size)[0],
        "pool1": lambda x: merge.weighted_mean(groups, x, size * attended)[0],
        "pool2": lambda x: merge.reduce(groups, x, "max"),
        "pool3": lambda x: merge.reduce(groups, x, "mean"),
    }[pool]
    columns = merge.reduce(groups, rearrange(attention, "b k n m -> b m (n k)"))
    rows = mean(rearrange(columns, "b m (n k) -> b n (k m)", k=2))
    sizes = merge.reduce(groups, size[..., None])[..., 0]
    return merge.destination(groups), sizes, mean(x), rearrange(rows, "b n (k m) -> b k n m", k=2)


@pytest.mark.parametrize("case", CASES)
def test_pairs_and_means_equal_the_original(case):
    """Each criterion alone and together, one and two directions, with and without sizes."""
    tag, r, temperatures, both, sizes, pool = case.split("/")
    class_tokens, r = int(tag == "cls"), int(r[1:])
    x, attention, size = inputs()
    attended = attention.mean(axis=(1, 2))
    known = size if sizes == "sizes" else None
    size = jnp.ones_like(size) if known is None else size
    temperatures = tuple(float(t) for t in temperatures.removeprefix("tau").split("_"))
    groups = pairs(x, attended, known, class_tokens, temperatures, r, both == "both1")
    expected = {name: UNIT.arrays[f"{case}/{name}"] for name in ("x", "size", "origin")}
    origin, sizes, mean, rows = merged(groups, x, attention, attended, size, pool)
    np.testing.assert_array_equal(origin, expected["origin"])
    np.testing.assert_array_equal(sizes, expected["size"])
    close(mean, expected["x"])
    close(rows, UNIT.arrays[f"{case}/attention"])
    if pool == "pool1" and temperatures == mctf.TEMPERATURES and both == "both1":
        tokens = Tokens.traced(x).replace(size=known)
        ours = compiled(MCTF(r, class_tokens))(tokens, attended)
        for name, value in expected.items():
            close(getattr(ours, name), value)


@pytest.mark.parametrize("key", merger_edges.keys("mctf"))
def test_what_merges_at_the_edges(key):
    """r from 0 to more than there is, equal tokens, zero vectors; uniform attention."""
    x, r, protected, expected = merger_edges.case(key)
    tokens = compiled(MCTF(r, protected))(Tokens.traced(x), jnp.full((1, 8), 1 / 8))
    close(tokens.x, expected["x"])
    size = np.ones((1, 8)) if tokens.size is None else tokens.size
    np.testing.assert_array_equal(size, expected["size"])
    np.testing.assert_array_equal(tokens.origin, expected["origin"])


@pytest.mark.parametrize("ahead", FORMS)
def test_small_blocks_give_what_the_original_gives(ahead):
    """Three blocks of DeiT, each of which merges by its own attention map, with sizes."""
    sizes, weights = BLOCKS.config, BLOCKS.weights()
    tokens = Tokens.traced(jnp.asarray(recipe.video((2, 26, sizes["width"]), 7151)))
    for i in range(sizes["depth"]):
        params = timm_vit.block(weights, i, sizes["width"])
        block = Block(sizes["heads"], FORMS[ahead](sizes["r"], 1))
        tokens = jax.jit(block.apply)({"params": params}, tokens)
        umt_case.close(tokens.x, BLOCKS.arrays[f"{ahead}/block_{i}"], 1e-4)
        np.testing.assert_array_equal(tokens.size, BLOCKS.arrays[f"{ahead}/size_{i}"])
        held = [np.bincount(origin) for origin in np.asarray(tokens.origin)]
        np.testing.assert_array_equal(tokens.size, held)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [MCTFAhead, MCTFPrecise])
def test_frames_that_merge_alike_and_places_that_are_equal(kind):
    """Three equal frames are one alone; rotation by one place for all tokens changes nothing."""
    frame = Tokens(jnp.asarray(recipe.video((2, 12, 16), 5)))
    block, clips = (Block(2, kind(4), alike=frames) for frames in (1, 3))
    params = jax.jit(block.init)(jax.random.key(0), frame)
    alone = jax.jit(block.apply)(params, frame)
    together = jax.jit(clips.apply)(params, jax.tree.map(lambda x: x.repeat(3, axis=0), frame))
    placed = jax.jit(block.apply)(params, frame.replace(position=jnp.full((2, 12, 2), 3.0)))
    for same in (together.x[::3], together.x[2::3], placed.x):
        close(same, alone.x)
    for same in (together.size[1::3], placed.size):
        np.testing.assert_array_equal(same, alone.size)


def test_attention_received_by_definition():
    """The mean over heads and queries, sizes in the softmax, one's own attention included."""
    query, key = (jnp.asarray(recipe.video((2, 9, 3, 4), seed)) for seed in (1, 2))
    weight = 1 + jnp.asarray(recipe.video((2, 9), 3)) ** 2
    weighted = weight[:, None, None] * jnp.exp(0.5 * jnp.einsum("bnkd,bmkd->bknm", query, key))
    expected = (weighted / weighted.sum(axis=3, keepdims=True)).mean(axis=(1, 2))
    close(kernels.attended(query, key, weight, scale=0.5), expected)


def test_what_receives_no_attention_stays_finite():
    x = jnp.asarray(recipe.video((1, 8, 4), 1))
    tokens = compiled(MCTF(3))(Tokens(x), jnp.zeros((1, 8)).at[0, :2].set(0.5))
    assert np.isfinite(tokens.x).all()
    np.testing.assert_array_equal(tokens.size.sum(), 8)


def test_cost():
    """UMT-B's first block: 1.06 GMAC of cosines and 4.25 of attention received."""
    assert MCTF(600).macs(2352, 768, 12) == (1176**2 + 2352**2) * 768
    assert MCTF(5, 1).macs(197, 768, 12) == (98**2 + 197**2) * 768
    again = 2 * 197 * 768**2  # queries and keys
    own = MCTFPrecise(5, 1).macs(197, 768, 12)
    whole = costs.block(MCTFPrecise(5, 1), 197, 768, 12)
    assert whole - own == again + costs.block(None, 192, 768, 12)
