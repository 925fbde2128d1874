"""ATC: its clusters against scikit-learn's, at the edges, against a plain loop; its cost."""

from functools import cache, partial

import golden
import jax
import jax.numpy as jnp
import merger_edges
import numpy as np
import pytest
import recipe
import umt_case
from hypothesis import given, settings
from hypothesis import strategies as st

from tokmerge_jax.merging import Evidence, Tokens, atc, matching, merge, schedule
from tokmerge_jax.merging.atc import ATC, ATCComplete, ATCSingle
from tokmerge_jax.merging.merger import most

UNIT = golden.load("mergers-atc")
KINDS = {"average": ATC, "complete": ATCComplete, "single": ATCSingle}


def close(ours, theirs):
    umt_case.close(ours, theirs, 1e-5)


@cache
def compiled(merger):
    """A function of tokens and keys, one of equal mergers."""
    return jax.jit(lambda tokens, keys: merger(tokens, Evidence(keys)))


def check(tokens, expected):
    close(tokens.x, expected["x"])
    size = np.ones(tokens.x.shape[:2]) if tokens.size is None else tokens.size
    np.testing.assert_array_equal(size, expected["size"])
    np.testing.assert_array_equal(tokens.origin, expected["origin"])


@pytest.mark.parametrize("case", sorted({"/".join(key.split("/")[:3]) for key in UNIT.arrays}))
def test_clusters_equal_the_original_twice_in_a_row(case):
    """All linkages, down to one cluster; then half of the clusters again, with their sizes."""
    expected = {
        key.removeprefix(f"{case}/"): value
        for key, value in UNIT.arrays.items()
        if key.startswith(f"{case}/")
    }
    tag, linkage, clusters = case.split("/")
    protected, clusters = int(tag == "cls"), int(clusters[1:])
    metric, x = (jnp.asarray(recipe.video((2, 21, n), 7161 + i)) for i, n in enumerate((8, 6)))
    kind = KINDS[linkage]
    tokens = compiled(kind(21 - protected - clusters, protected))(Tokens.traced(x), metric)
    check(tokens, expected)
    if clusters > 3:
        left = protected + clusters
        place = jnp.broadcast_to(jnp.arange(left, dtype=jnp.int32), (2, left))
        again = compiled(kind(clusters - max(2, clusters // 2), protected))
        tokens = again(tokens.replace(origin=place), metric[:, :left])
        check(tokens, {name: expected[f"second/{name}"] for name in ("x", "size", "origin")})


@pytest.mark.parametrize("key", merger_edges.keys("atc"))
def test_clusters_at_the_edges(key):
    """r from 0 to more than there is, equal tokens, zero vectors."""
    x, r, protected, expected = merger_edges.case(key)
    check(compiled(ATC(r, protected))(Tokens.traced(x), x), expected)


def joined(distance, r):
    """The first member of each token's cluster, by the definition: all pairs in every step."""
    groups = [[i] for i in range(len(distance))]
    for _ in range(r):
        pairs = [(a, b) for a in range(len(groups)) for b in range(a + 1, len(groups))]
        mean = [distance[np.ix_(groups[a], groups[b])].mean() for a, b in pairs]
        a, b = pairs[int(np.argmin(mean))]
        groups[a] += groups.pop(b)
    first = np.zeros(len(distance), int)
    for group in groups:
        first[group] = min(group)
    return first


@partial(jax.jit, static_argnums=1)
def places(metric, r):
    return merge.destination(atc.clustered(metric, r, 0, ATC.linkage))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), r=st.sampled_from([1, 7, 12, 16]), spread=st.floats(0.1, 10))
def test_clusters_are_those_of_all_pairs_in_every_step(seed, r, spread):
    """Bounds of rows leave out no pair, whether tokens are in a few heaps or all apart."""
    draw = np.random.default_rng(seed)
    heaps = draw.normal(size=(3, 5))[draw.integers(0, 3, 17)]
    metric = jnp.asarray(heaps + spread * draw.normal(size=(17, 5)), jnp.float32)[None]
    first = joined(1 - np.asarray(matching.cosine(metric, metric)[0], np.float64), r)
    _, expected = np.unique(first, return_inverse=True)
    np.testing.assert_array_equal(places(metric, r)[0], expected)


def test_costs_and_limits():
    """All pairs of mean keys; more than half of the tokens can merge."""
    assert ATC(16, 1).macs(197, 768, 12) == 196**2 * 64
    assert schedule.resolve((0.9,), 2, 100, most("atc")) == (90, 0)
    assert schedule.resolve(99, 2, 100, most("atc", 1)) == (98, 0)
