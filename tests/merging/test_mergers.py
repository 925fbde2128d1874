"""Mergers as a block calls them: vid-TLDR's numbers, degenerate tokens, transformations, a mesh."""

import functools
import inspect
import re
from functools import partial
from typing import get_args

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from parameters import slow

from tokmerge_jax import merging
from tokmerge_jax.merging import Evidence, Merger, Prune, Tokens, ToMe, VidTLDR
from tokmerge_jax.merging.prune import PruneFrames
from tokmerge_jax.merging.random import Random
from tokmerge_jax.merging.vote import Vote
from tokmerge_jax.types import UserError


def close(ours, theirs, tolerance=2e-4):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


@functools.cache
def compiled(merger):
    """One function of equal mergers, so that the programs of one test serve the others."""
    return jax.jit(merger)


@jax.jit
def negative_entropy(logits):
    mean = jax.nn.softmax(jnp.asarray(logits)).mean(1)
    return jax.scipy.special.xlogy(mean, mean).sum(-1)


@pytest.mark.parametrize("name", ["vidtldr-merge", "vidtldr-merge-even"])
def test_vid_tldr_equals_the_original_twice_in_a_row(name):
    case = golden.load(name)
    batch, heads, count, width = (case.config[key] for key in ("B", "heads", "N", "C"))
    seed = case.spec["seed"]
    tokens = Tokens(jnp.asarray(recipe.video((batch, count, width), seed)))
    for i, r in enumerate(case.config["r"], start=1):
        n = tokens.x.shape[1]
        entropy = negative_entropy(2 * recipe.video((batch, heads, n, n), seed + i))
        close(merging.vid_tldr.foreground(entropy), case.arrays[f"score_{i}"], 1e-3)
        tokens = compiled(VidTLDR(r))(tokens, Evidence(entropy=entropy))
        close(tokens.size, case.arrays[f"size_{i}"], 1e-3)
        close(tokens.x, case.arrays[f"x_{i}"])


EDGES = golden.load("vidtldr-merge-edges")


@pytest.mark.parametrize("name", EDGES.config)
def test_vid_tldr_equals_the_original_at_the_edges(name):
    """None, one, more than half, less than none, fractions of the count, odd and tiny counts."""
    spec, seed = EDGES.config[name], EDGES.spec["seed"]
    tokens = Tokens(jnp.asarray(recipe.video((2, spec["N"], 6), seed + spec["N"])))
    for i, r in enumerate(spec["r"]):
        n = tokens.x.shape[1]
        entropy = negative_entropy(3 * recipe.video((2, 2, n, n), seed + 100 * i + n))
        r = int(n * r) if 0 < r < 1 else r
        tokens = compiled(VidTLDR(r))(tokens, Evidence(entropy=entropy))
        size = np.ones(tokens.x.shape[:2]) if tokens.size is None else tokens.size
        close(size, EDGES.arrays[f"{name}/size_{i}"], 1e-3)
        close(tokens.x, EDGES.arrays[f"{name}/x_{i}"])


def draw(batch=2, count=15, width=6, dtype=jnp.float32, seed=1):
    x = jnp.asarray(recipe.video((batch, count, width), seed), dtype)
    keys = jnp.asarray(recipe.video((batch, count, 4), seed + 1), dtype)
    entropy = negative_entropy(2 * recipe.video((batch, 2, count, count), seed + 2))
    return Tokens.traced(x), Evidence(keys, entropy)


MERGERS = [ToMe(4), ToMe(4, 1), ToMe(4, 2), VidTLDR(4), VidTLDR(4, 1), Random(4, 1)]


@pytest.mark.parametrize("merger", MERGERS, ids=str)
def test_protocol_and_hash(merger):
    assert isinstance(merger, Merger)
    assert merger.needs <= {"keys", "entropy"}
    assert hash(merger) == hash(type(merger)(*merger.__dict__.values()))


EVERYWHERE = get_args(merging.merger.Place)


def parts_of(merger, tokens, evidence):
    """Tokens after merging, and their origin."""
    merged = merger(tokens, evidence)
    return merged.x, merged.origin


@pytest.mark.parametrize("class_tokens", [0, 1, 2])
@pytest.mark.parametrize(
    "name", slow(merging.merger.names(EVERYWHERE), lambda name: name.startswith("atc_"))
)
def test_every_registered_merger_does_what_it_says(name, class_tokens):
    """N - r tokens are left, also of the largest r and of more; class tokens stay what they are.

    Tokens can be traced exactly if none is dropped.
    """
    kind = merging.merger.find(name, EVERYWHERE)
    n, channels = 9, 4
    rows = (2, 3) if kind.place == "time" else (2,)  # places over time
    tokens = Tokens(jnp.asarray(recipe.video((2, n, *rows[1:], channels), 1)))
    scores = [jnp.asarray(recipe.video((*rows, n), i)) for i in (2, 3, 4, 6, 7)]
    evidence = Evidence(jnp.asarray(recipe.video((*rows, n, 2), 5)), *scores)
    traced = tokens.replace(origin=jnp.tile(jnp.arange(n, dtype=jnp.int32), (2, 1)))
    most = kind.most(n, class_tokens)
    assert 0 < most < n
    assert kind.most(1, class_tokens) == 0
    assert kind.place == "time" or kind.most(class_tokens, class_tokens) == 0
    for r in (1, most, most + 1):
        merger = kind.at(3, 12, r, class_tokens)
        assert (merger.r, hash(merger)) == (r, hash(kind.at(3, 12, r, class_tokens)))
        assert 0 < merger.macs(n, channels, 2) <= 2 * n**2 * channels
        parts = partial(parts_of, merger)
        if merger.drops:
            with pytest.raises(UserError, match="dropped tokens cannot be followed"):
                jax.eval_shape(parts, traced, evidence)
        x, origin = jax.eval_shape(parts, tokens if merger.drops else traced, evidence)
        assert x.shape == (2, n - min(r, most), *tokens.x.shape[2:])
        assert merger.drops or origin.shape == (2, n)
        if kind.place != "time" and class_tokens and r <= most:  # more is the largest
            left = compiled(merger)(tokens, evidence)
            np.testing.assert_array_equal(left.x[:, :class_tokens], tokens.x[:, :class_tokens])


def test_a_background_source_vanishes():
    """Tokens 0 and 1 are alike; 0 merges into 1 and is background, so 1 stays what it was."""
    x = jnp.array([[[1.0, 0.1], [1.0, 0.0], [-1.0, 0.5], [0.0, -1.0]]])
    entropy = jnp.array([[-9.0, -1.0, -1.0, -1.0]])
    tokens = compiled(VidTLDR(1))(Tokens.traced(x), Evidence(entropy=entropy))
    np.testing.assert_array_equal(tokens.x, np.asarray(x)[:, [2, 1, 3]])
    np.testing.assert_array_equal(tokens.size, [[1.0, 1.0, 1.0]])
    np.testing.assert_array_equal(tokens.origin, [[1, 1, 0, 2]])


@pytest.mark.parametrize(
    ("merger", "count"),
    [(m, n) for m in MERGERS for n in (1, 2, 3, 4, 5, 9) if n > m.class_tokens],
    ids=str,
)
def test_degenerate_tokens_stay_finite(merger, count):
    """Equal tokens, vanished tokens, one-hot attention (0 log 0), one token left."""
    merge, shape = compiled(merger), (1, count, 3)
    for x in (np.ones(shape, np.float32), np.zeros(shape, np.float32)):
        for value in (0.0, -np.log(count)):
            entropy = np.full((1, count), value, np.float32)
            tokens = Tokens(jnp.asarray(x))
            while True:
                known = jnp.asarray(entropy[:, : tokens.x.shape[1]])
                left = merge(tokens, Evidence(tokens.x, known))
                np.testing.assert_array_equal(left.x, x[:, : left.x.shape[1]])
                assert left.size is None or np.isfinite(left.size).all()
                if left.x.shape[1] == tokens.x.shape[1]:
                    break
                tokens = left
            assert tokens.x.shape[1] == 1 + merger.class_tokens or count <= 2


@pytest.mark.parametrize("merger", MERGERS, ids=str)
def test_samples_alone_equal_samples_together(merger):
    tokens, evidence = draw(3)
    together = compiled(merger)(tokens, evidence)
    arrays, form = jax.tree.flatten(jax.tree.map(lambda a: a[:, None], (tokens, evidence)))

    def run(*sample):
        merged = merger(*jax.tree.unflatten(form, sample))
        return merged.x, merged.size, merged.origin

    x, size, origin = jax.jit(jax.vmap(run))(*arrays)
    np.testing.assert_array_equal(origin[:, 0], together.origin)
    np.testing.assert_allclose(x[:, 0], together.x, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(size[:, 0], together.size, rtol=1e-5)


@pytest.mark.parametrize("merger", MERGERS, ids=str)
def test_bfloat16(merger):
    tokens, evidence = draw(dtype=jnp.bfloat16)
    half = compiled(merger)(tokens, evidence)
    assert evidence.keys is not None
    keys = evidence.keys.astype(jnp.float32)
    tokens = tokens.replace(x=tokens.x.astype(jnp.float32))
    full = compiled(merger)(tokens, evidence.replace(keys=keys))
    assert half.x.dtype == jnp.bfloat16
    np.testing.assert_array_equal(half.origin, full.origin)  # decided in float32
    np.testing.assert_array_equal(half.size, full.size)
    np.testing.assert_array_equal(half.x, full.x.astype(jnp.bfloat16))


@pytest.mark.parametrize("merger", MERGERS, ids=str)
def test_gradients_reach_values_and_no_decision(merger):
    tokens, evidence = draw()

    def loss(x, keys, entropy):
        return (merger(Tokens(x), Evidence(keys, entropy)).x ** 2).sum()

    gradients = jax.jit(jax.grad(loss, (0, 1, 2)))(tokens.x, evidence.keys, evidence.entropy)
    assert all(np.isfinite(g).all() for g in gradients)
    assert np.abs(gradients[0]).max() > 0
    np.testing.assert_array_equal(gradients[1], np.zeros_like(gradients[1]))
    np.testing.assert_array_equal(gradients[2], np.zeros_like(gradients[2]))


@pytest.mark.slow
@pytest.mark.parametrize("merger", MERGERS, ids=str)
def test_a_sharded_batch_stays_where_it_is(merger):
    tokens, evidence = draw(8)

    def run(x, keys, entropy):
        merged = merger(Tokens(x), Evidence(keys, entropy))
        return merged.x, merged.size

    arrays = tokens.x, evidence.keys, evidence.entropy
    expected = jax.jit(run)(*arrays)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    rows = NamedSharding(mesh, PartitionSpec("data"))
    with jax.set_mesh(mesh):
        arrays = jax.device_put(arrays, rows)
        program = jax.jit(run, out_shardings=rows).lower(*arrays).compile()
        x, size = program(*arrays)
        spread = jax.tree.map(lambda a: jax.device_put(a, rows), (tokens, evidence))
        traced = compiled(merger)(*spread)
    assert not re.search("all-|collective-", str(program.as_text()))
    np.testing.assert_allclose(x, expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(size, expected[1], rtol=1e-5)
    np.testing.assert_array_equal(traced.origin, compiled(merger)(tokens, evidence).origin)


@pytest.mark.parametrize("layer", [1, 2])
def test_random_tokens_merge_into_the_most_similar_others(layer):
    """Four of ten tokens behind two protected ones: those that the layer's number draws."""
    tokens, evidence = draw(3, count=12)
    merged = compiled(Random.at(layer, depth=4, r=4, class_tokens=2))(tokens, evidence)
    source = 2 + np.random.default_rng(layer).permutation(10)[:4]
    kept = np.delete(np.arange(12), source)
    keys = np.asarray(evidence.keys)
    keys = keys / np.linalg.norm(keys, axis=-1, keepdims=True)
    expected = np.zeros((3, 12), int)
    expected[:, kept] = np.arange(8)
    expected[:, source] = 2 + (keys[:, source] @ keys[:, kept[2:]].swapaxes(1, 2)).argmax(axis=-1)
    np.testing.assert_array_equal(merged.origin, expected)


def test_per_layer():
    assert merging.per_layer("none", (3, 0)) == (None, None)
    assert merging.per_layer("vid_tldr", (3, 0, 1)) == (VidTLDR(3), None, VidTLDR(1))
    assert merging.per_layer("tome", (2,), 1) == (ToMe(2, class_tokens=1),)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "tomee",
            r"config.model.merger.name='tomee' is unknown; use none, .*prune, .*tome, .*:Class",
        ),
        (
            "vote",
            "name='vote' acts at 'time', and here .* or 'attention' or 'mlp'; choose one of none",
        ),
        ("no_such_module:Mine", r"cannot be imported \(No module named 'no_such_module'\); write"),
        ("json:Mine", r"cannot be imported \(module 'json' has no attribute 'Mine'\)"),
        (":Mine", "cannot be imported"),
        (
            "json:loads",
            "name='json:loads' is no merger; derive it from tokmerge_jax.merging.Merger",
        ),
        ("json:JSONDecoder", "is no merger"),
        (
            "tokmerge_jax.merging:Merger",
            "is no merger; .* with the methods most, macs and __call__",
        ),
    ],
)
def test_unknown_mergers_are_refused_in_one_sentence(name, message):
    for ask in (merging.most, lambda name: merging.per_layer(name, (1,))):
        with pytest.raises(UserError, match=message) as caught:
            ask(name)
        assert "\n" not in str(caught.value)


KEYS = jnp.ones((2, 9, 4))


X, VIDEO = Tokens(KEYS), Tokens(KEYS[None])


@pytest.mark.parametrize(
    ("merger", "tokens", "evidence", "message"),
    [
        (VidTLDR(2), X, Evidence(KEYS), "VidTLDR reads the evidence 'entropy', which the block"),
        (Prune(2), X, Evidence(KEYS), r"pass merging.Evidence\(received=...\), to be computed"),
        (ToMe(2), X, Evidence(), "where merger.needs holds 'keys'"),
        (ToMe(2), X, KEYS, "ToMe reads the evidence 'keys', which the block does not give"),
        (ToMe(2), KEYS, Evidence(KEYS), r"ToMe merges merging.Tokens, not \w+; write merging.T"),
        (ToMe(2), Tokens(KEYS[0]), Evidence(KEYS[0]), r"channels\], not \(9, 4\); for a single"),
        (ToMe(2), X, Evidence(KEYS[:, 1:]), r"shape \(2, 9, channels\), not \(2, 8, 4\)"),
        (ToMe(2), X, Evidence(KEYS[..., None]), r"not \(2, 9, 4, 1\)"),
        (VidTLDR(2), X, Evidence(entropy=KEYS), r"the shape \(2, 9\), not \(2, 9, 4\)"),
        (Vote(2), X, Evidence(KEYS), r"x of shape \[batch, frames, places, channels\], not"),
        (Vote(2), VIDEO, Evidence(KEYS[None]), r"shape \(1, 9, 2, channels\), not \(1, 2, 9, 4\)"),
        (PruneFrames(1), VIDEO, Evidence(), "PruneFrames reads the evidence 'received'"),
    ],
)
def test_mergers_say_what_they_need(merger, tokens, evidence, message):
    """Checks each sentence, while tracing too; without the tests' type checks, as for users."""
    call = partial(inspect.unwrap(type(merger).__call__), merger)
    with pytest.raises(UserError, match=message):
        call(tokens, evidence)
    with pytest.raises(UserError, match=message):
        jax.eval_shape(call, tokens, evidence)


def test_a_class_token_tells_nothing_of_the_others():
    """The same merges and sizes as without it, shifted by one place; it stays what it is."""
    tokens, evidence = draw(count=12)
    first = jnp.full((2, 1, 6), 5.0)
    assert evidence.entropy is not None
    behind = Tokens.traced(jnp.concatenate([first, tokens.x], axis=1))
    entropy = jnp.pad(evidence.entropy, ((0, 0), (1, 0)), constant_values=99.0)
    ours = compiled(VidTLDR(3, class_tokens=1))(behind, Evidence(entropy=entropy))
    # With one token in front the other places are even, so the sets A and B change their parts.
    swapped = jnp.arange(12).reshape(-1, 2)[:, ::-1].reshape(-1)
    alone = compiled(VidTLDR(3))(
        Tokens(tokens.x[:, swapped]), Evidence(entropy=evidence.entropy[:, swapped])
    )
    np.testing.assert_array_equal(ours.x[:, 0], first[:, 0])
    np.testing.assert_array_equal(ours.size[:, 0], np.ones(2))
    order = [np.lexsort(x.T) for x in np.asarray(alone.x)]
    for row in range(2):
        a, b = np.asarray(ours.x[row, 1:]), np.asarray(alone.x[row])
        np.testing.assert_allclose(a[np.lexsort(a.T)], b[order[row]], atol=1e-6)
