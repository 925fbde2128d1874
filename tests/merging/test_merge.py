"""Merging by a matching: what it must conserve, and small cases by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokmerge_jax.merging import Tokens, matching, merge

bipartite = jax.jit(matching.bipartite, static_argnums=1)
weighted_mean, unmerge, destination, merge_tokens = map(
    jax.jit, (merge.weighted_mean, merge.unmerge, merge.destination, merge.tokens)
)

HAND = matching.Matching(
    kept=jnp.array([[2, 1, 3]]), source=jnp.array([[4, 0]]), target=jnp.array([[1, 1]])
)


def draw(seed, batch=2, tokens=13, width=3):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((batch, tokens, width)).astype(np.float32)
    size = rng.integers(1, 9, (batch, tokens)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(size)


def test_by_hand():
    x = jnp.array([[[1.0], [2.0], [3.0], [4.0], [6.0]]])
    size = jnp.array([[1.0, 2.0, 1.0, 1.0, 3.0]])
    assert merge.reduce(HAND, x).tolist() == [[[3.0], [9.0], [4.0]]]
    assert merge.reduce(HAND, x, "mean").tolist() == [[[3.0], [3.0], [4.0]]]
    assert merge.reduce(HAND, x, "max").tolist() == [[[3.0], [6.0], [4.0]]]
    mean, mass = weighted_mean(HAND, x, size)
    assert mass.tolist() == [[1.0, 6.0, 1.0]]
    np.testing.assert_allclose(mean, [[[3.0], [(1 + 2 * 2 + 3 * 6) / 6], [4.0]]], rtol=1e-6)
    assert unmerge(HAND, mean)[0, :, 0].tolist() == mean[0, jnp.array([1, 1, 0, 2, 1]), 0].tolist()


def test_weights_are_the_sources_alone():
    """Token 0 vanishes, token 4 counts by half; weights of kept tokens are nobody's business."""
    x = jnp.array([[[1.0], [2.0], [3.0], [4.0], [6.0]]])
    size = jnp.array([[1.0, 2.0, 1.0, 1.0, 3.0]])
    weight = jnp.array([[0.0, 0.1, 0.0, 0.7, 0.5]])
    mean, mass = weighted_mean(HAND, x, size, weight)
    assert mass.tolist() == [[1.0, 3.5, 1.0]]
    np.testing.assert_allclose(mean, [[[3.0], [(2 * 2 + 1.5 * 6) / 3.5], [4.0]]], rtol=1e-6)


@given(seed=st.integers(0, 999), tokens=st.sampled_from([2, 17]), r=st.sampled_from([0, 1, 8]))
@settings(max_examples=20, deadline=None)
def test_mass_and_mean_are_conserved(seed, tokens, r):
    x, size = draw(seed, tokens=tokens)
    mean, mass = weighted_mean(bipartite(x, r), x, size)
    np.testing.assert_array_equal(mass.sum(1), size.sum(1))
    np.testing.assert_allclose(
        (mean * mass[..., None]).sum(1), (x * size[..., None]).sum(1), rtol=1e-4, atol=1e-4
    )


@pytest.mark.slow
@given(seed=st.integers(0, 999), r=st.sampled_from([1, 4, 6]))
@settings(max_examples=20, deadline=None)
def test_unmerging_undoes_what_can_be_undone(seed, r):
    x, _ = draw(seed)
    pairs = bipartite(x, r)
    merged, _ = weighted_mean(pairs, x)
    whole = unmerge(pairs, merged)
    again, _ = weighted_mean(pairs, whole)  # constant on groups: merging changes nothing
    np.testing.assert_allclose(again, merged, rtol=1e-5, atol=1e-6)
    untouched = np.ones(x.shape[:2], bool)
    for i, (source, target, kept) in enumerate(
        zip(pairs.source, pairs.target, pairs.kept, strict=True)
    ):
        untouched[i, np.r_[source, kept[target]]] = False
    np.testing.assert_array_equal(whole[untouched], x[untouched])


@pytest.mark.slow
@given(seed=st.integers(0, 999), r=st.sampled_from([(5,), (4, 3), (6, 2, 2)]))
@settings(max_examples=20, deadline=None)
def test_origin_follows_tokens_through_all_merges(seed, r):
    """A token that carries the set of its members as bits holds just those that point to it."""
    x, _ = draw(seed)
    tokens, x0 = Tokens.traced(x), x
    for one in r:
        tokens = merge_tokens(bipartite(tokens.x, one), tokens)
    assert tokens.size is not None
    assert tokens.origin is not None
    assert tokens.size.sum(1).tolist() == [13.0, 13.0]
    for sample in range(2):
        origin = np.asarray(tokens.origin[sample])
        assert set(origin) == set(range(tokens.x.shape[1]))
        np.testing.assert_array_equal(np.bincount(origin), tokens.size[sample])
        for place in range(tokens.x.shape[1]):
            mean = np.asarray(x0[sample])[origin == place].mean(0)
            np.testing.assert_allclose(tokens.x[sample, place], mean, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_origin_through_many_layers():
    """Compiling takes hours, not a second, if a layer's look-up doubles the code before it."""
    x, _ = draw(3, tokens=40)

    @jax.jit
    def run(x):
        tokens = Tokens.traced(x)
        for _ in range(24):
            tokens = merge.tokens(matching.bipartite(tokens.x, 1), tokens)
        return tokens

    tokens = run(x)
    for origin, size in zip(tokens.origin, tokens.size, strict=True):
        np.testing.assert_array_equal(np.bincount(origin), size)


def test_nothing_merged_is_the_identity():
    x, size = draw(4)
    tokens = merge_tokens(bipartite(x, 0), Tokens(x, size, Tokens.traced(x).origin))
    np.testing.assert_allclose(tokens.x, x, rtol=1e-6)
    np.testing.assert_array_equal(tokens.size, size)
    np.testing.assert_array_equal(tokens.origin[1], np.arange(13))


def test_half_precision_sums_in_float32():
    """4096 + 1 ones: a bfloat16 sum would stop at 256."""
    x = jnp.ones((1, 4098, 1), jnp.bfloat16)
    pairs = matching.Matching(
        jnp.array([[0]]), jnp.arange(1, 4098)[None], jnp.zeros((1, 4097), jnp.int32)
    )
    mean, mass = weighted_mean(pairs, x)
    assert mean.dtype == jnp.bfloat16
    assert mass.tolist() == [[4098.0]]
    assert mean.tolist() == [[[1.0]]]


@pytest.mark.parametrize("how", ["sum", "mean", "max"])
def test_reduce_equals_its_definition(how):
    x, _ = draw(7)
    pairs = bipartite(x, 5)
    place = np.asarray(destination(pairs))
    expected = [
        [getattr(np, how)(np.asarray(x[i])[place[i] == j], axis=0) for j in range(8)]
        for i in range(2)
    ]
    np.testing.assert_allclose(merge.reduce(pairs, x, how), expected, rtol=1e-5, atol=1e-6)


def test_gradients_pass_through_values():
    x, size = draw(1)
    pairs = bipartite(x, 4)

    def loss(x):
        return (weighted_mean(pairs, x, size)[0] ** 2).sum()

    step = jnp.asarray(np.random.default_rng(0).standard_normal(x.shape).astype(np.float32))
    numeric = (loss(x + 1e-2 * step) - loss(x - 1e-2 * step)) / 2e-2
    np.testing.assert_allclose((jax.grad(loss)(x) * step).sum(), numeric, rtol=1e-3)
