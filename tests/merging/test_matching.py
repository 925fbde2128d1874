"""Matchings against ToMe's decisions, definitions in numpy, and cases worked out by hand."""

from functools import partial

import chex
import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
from hypothesis import given, settings
from hypothesis import strategies as st
from parameters import slow

from tokmerge_jax.merging import matching, merge

PROTECTED = {"plain": 0, "cls": 1, "cls_distill": 2}


@partial(jax.jit, static_argnames="match")
def apply(match, metric, x, size=None):
    """A matching and everything that can be done with it, compiled once together."""
    pairs = match(metric)
    mean, mass = merge.weighted_mean(pairs, x, size)
    return pairs, {
        "x": mean,
        "size": mass,
        "amax": merge.reduce(pairs, x, "max"),
        "mean": merge.reduce(pairs, x, "mean"),
        "origin": merge.destination(pairs),
        "unmerged": merge.unmerge(pairs, mean),
    }


bipartite = jax.jit(matching.bipartite, static_argnums=(1, 2), static_argnames="ordered")


def bipartite_by(*settings):
    return lambda metric: matching.bipartite(metric, *settings)


def check(ours, expected, leave_out=()):
    """Compares what the original has of a case, to rounding, indices exactly."""
    for key in set(ours) & set(expected) - set(leave_out):
        theirs = expected[key]
        tolerance = 0 if theirs.dtype == np.int32 else 2e-4 * np.abs(theirs).max()
        np.testing.assert_allclose(ours[key], theirs, rtol=0, atol=tolerance, err_msg=key)


def load(name):
    case = golden.load(name)
    batch, tokens, width = (case.config[key] for key in ("B", "N", "C"))
    metric = recipe.video((batch, tokens, case.config["metric_width"]), case.spec["seed"])
    x = recipe.video((batch, tokens, width), case.spec["seed"] + 1)
    return case, jnp.asarray(metric), jnp.asarray(x)


def part(case, prefix):
    """The arrays of a golden whose names begin with `prefix`."""
    return {k[len(prefix) :]: a for k, a in case.arrays.items() if k.startswith(prefix)}


@pytest.mark.slow
@pytest.mark.parametrize("protected", PROTECTED)
@pytest.mark.parametrize("name", ["tome-merge-even", "tome-merge-odd"])
def test_bipartite_equals_tome(name, protected):
    case, metric, x = load(name)
    # the original's unmerge mistakes the order of tokens beside a distillation token
    wrong = ("unmerged",) if protected == "cls_distill" else ()
    for r in case.config["r"]:
        expected = part(case, f"{protected}/r{r}/")
        pairs, ours = apply(bipartite_by(r, PROTECTED[protected]), metric, x)
        assert pairs.kept.shape[1] == expected["tokens"]
        check(ours, expected, wrong)
        if r > 0:
            check_decisions(pairs, expected, distill=protected == "cls_distill")
            again = bipartite_by(max(1, r // 2), PROTECTED[protected])
            _, twice = apply(again, metric[:, : expected["tokens"]], ours["x"], ours["size"])
            check(twice, part(case, f"{protected}/r{r}/second/"))


def check_decisions(pairs, expected, distill):
    """The original numbers both sets from 0; B stands behind the kept of A."""
    kept = 2 * expected["unm_idx"]
    odd = np.setdiff1d(pairs.kept[0], np.arange(0, 100, 2))
    order = [np.concatenate([row, odd]) for row in kept]
    if distill:
        order = [np.concatenate([row[:1], odd[:1], row[1:], odd[1:]]) for row in kept]
    np.testing.assert_array_equal(pairs.kept, order)
    np.testing.assert_array_equal(pairs.source, 2 * expected["src_idx"])
    np.testing.assert_array_equal(pairs.target, kept.shape[1] + expected["dst_idx"])


@pytest.mark.parametrize("name", ["tome-merge-even", "tome-merge-odd"])
@pytest.mark.parametrize("k", [2, 3, 5])
def test_kth_equals_tome(name, k):
    case, metric, x = load(name)
    _, ours = apply(lambda metric: matching.kth(metric, k), metric, x)
    check(ours, part(case, f"kth{k}/"))


def test_random_equals_tome():
    case, metric, x = load("tome-random")
    permutation = jnp.asarray(case.arrays["inputs/permutation"])
    for r in case.config["r"]:
        _, ours = apply(lambda metric, r=r: matching.random(metric, r, permutation), metric, x)
        check(ours, part(case, f"r{r}/"))


EDGES = golden.load("tome-edges")


@pytest.mark.parametrize("name", [name for name in EDGES.config if part(EDGES, f"{name}/")])
def test_edges(name):
    edge = EDGES.config[name]
    tokens, seed = edge["N"], EDGES.spec["seed"] + edge["N"]
    metric, x = recipe.video((1, tokens, 5), seed), recipe.video((1, tokens, 4), seed + 1)
    size = np.ones(tokens) if edge["sizes"] == "ones" else 1 + np.arange(tokens) % 3
    match = bipartite_by(edge["r"], edge["class_token"] + edge["distill_token"])
    _, ours = apply(match, metric, x, size[None].astype(np.float32))
    check(ours, part(EDGES, f"{name}/"))


def test_of_equal_scores_the_earlier_stay():
    score = jnp.array([[1.0, 1.0, 0.0, 1.0], [0.0, 2.0, 0.0, 0.0]])
    np.testing.assert_array_equal(matching.highest(score, 2), [[0, 1], [0, 1]])
    np.testing.assert_array_equal(matching.highest(score, 0), [[0, 1, 2, 3]] * 2)


def test_equal_scores_go_to_the_first():
    metric = jnp.ones((1, 7, 3))
    pairs = bipartite(metric, 2)
    np.testing.assert_array_equal(pairs.source, [[0, 2]])
    np.testing.assert_array_equal(pairs.kept, [[4, 6, 1, 3, 5]])
    np.testing.assert_array_equal(pairs.target, [[2, 2]])


def test_a_worked_case():
    """A holds tokens 0, 2, 4; B 1 and 3. Token 4 equals 1, token 0 is next to 3."""
    angle = jnp.array([0.1, 1.0, 2.5, 0.0, 1.0])
    metric = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)[None]
    pairs = bipartite(metric, 2)
    np.testing.assert_array_equal(pairs.source, [[4, 0]])
    np.testing.assert_array_equal(pairs.kept, [[2, 1, 3]])
    np.testing.assert_array_equal(pairs.target, [[1, 2]])
    np.testing.assert_array_equal(merge.destination(pairs), [[2, 1, 0, 2, 1]])


def test_order_of_the_kept():
    metric = jnp.asarray(recipe.video((1, 12, 4), 5))
    falling, ascending = (bipartite(metric, 2, ordered=o) for o in (False, True))
    assert sorted(falling.kept[0].tolist()) == sorted(ascending.kept[0].tolist())
    assert ascending.kept[0, :4].tolist() == sorted(falling.kept[0, :4].tolist())
    assert ascending.kept[0, :4].tolist() != falling.kept[0, :4].tolist()


@pytest.mark.parametrize("protected", slow([*PROTECTED.values(), 3, 4], {3, 4}.__contains__))
@given(tokens=st.integers(1, 21), r=st.integers(-2, 12), seed=st.integers(0, 9))
@settings(max_examples=8, deadline=None)
def test_every_token_has_one_place(protected, tokens, r, seed):
    metric = jnp.asarray(np.random.default_rng(seed).standard_normal((2, tokens, 3), np.float32))
    pairs = bipartite(metric, r, protected)
    merged = max(min(r, (tokens - protected) // 2), 0)
    everyone = np.concatenate([pairs.kept, pairs.source], axis=1)
    np.testing.assert_array_equal(np.sort(everyone), np.tile(np.arange(tokens), (2, 1)))
    assert pairs.source.shape[1] == merged
    assert pairs.kept[:, :protected].tolist() == [list(range(protected))[:tokens]] * 2
    if merged:
        assert pairs.target.min() >= protected


def test_vanished_and_huge_tokens():
    metric = jnp.asarray(recipe.video((1, 9, 4), 3)).at[0, 2:6].set(0.0).at[0, 7].mul(1e18)
    pairs = bipartite(metric, 4)
    assert sorted(pairs.source[0].tolist() + pairs.kept[0].tolist()) == list(range(9))
    assert pairs.source[0, 0] in (0, 6, 8)  # a zero vector is like nothing


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_scale_of_the_metric_is_nothing(scale):
    metric = jnp.asarray(recipe.video((2, 16, 6), 8))
    chosen = [bipartite(m, 5) for m in (metric, metric * scale)]
    np.testing.assert_array_equal(chosen[0].source, chosen[1].source)
    np.testing.assert_array_equal(chosen[0].target, chosen[1].target)


def test_half_precision_decides_as_exactly():
    metric = jnp.asarray(recipe.video((2, 64, 32), 8)).astype(jnp.bfloat16)
    half, wide = (bipartite(m, 20) for m in (metric, metric.astype(jnp.float32)))
    np.testing.assert_array_equal(half.source, wide.source)
    np.testing.assert_array_equal(half.target, wide.target)


def test_samples_do_not_see_each_other():
    metric = jnp.asarray(recipe.video((3, 14, 5), 9))
    together = bipartite(metric, 4, 1)
    for i in range(3):
        alone = bipartite(metric[i : i + 1], 4, 1)
        np.testing.assert_array_equal(alone.kept[0], together.kept[i])
        np.testing.assert_array_equal(alone.source[0], together.source[i])
        np.testing.assert_array_equal(alone.target[0], together.target[i])


@pytest.mark.parametrize(("tokens", "cosines"), [(37, 16), (37, 18 * 7), (64, 1), (64, 2**10)])
def test_blocks_of_tokens_decide_as_all_at_once(tokens, cosines, monkeypatch):
    """The numbers are whole, so that products are exact however they are computed."""
    metric = jnp.asarray(np.random.default_rng(tokens).integers(-3, 4, (2, tokens, 5)), jnp.float32)
    order = np.stack([np.random.default_rng(i).permutation(tokens) for i in range(2)])
    ways = [
        bipartite_by(9, 1),
        lambda metric: matching.kth(metric, 3),
        lambda metric: matching.random(metric, 9, jnp.asarray(order)),
    ]
    whole = [way(metric) for way in ways]
    monkeypatch.setattr(matching, "_COSINES", cosines)
    for way, expected in zip(ways, whole, strict=True):
        chex.assert_trees_all_equal(way(metric), expected)


def test_memory_grows_with_the_number_of_tokens_not_with_its_square(monkeypatch):
    def held(tokens):
        metric = jax.ShapeDtypeStruct((1, tokens, 8), np.float32)
        program = jax.jit(lambda metric: matching.bipartite(metric, 9)).lower(metric).compile()
        sizes = program.memory_analysis()
        assert sizes
        return sizes.temp_size_in_bytes

    assert held(4096) > 3 * held(2048)
    monkeypatch.setattr(matching, "_COSINES", 2**16)
    assert held(4096) < 2.2 * held(2048) < 2**21
