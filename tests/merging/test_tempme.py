"""Joining clips: TempMe's token counts, its merges alone, and cases worked out by hand."""

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokmerge_jax.merging import Prune, Tokens, ToMe, matching, merge, most, schedule, tempme
from tokmerge_jax.merging.tempme import Join
from tokmerge_jax.types import UserError

SCHEDULES = golden.load("tempme-schedule")
MERGES = golden.load("tempme-merge")


def numbers(text):
    return [int(n) for n in text.split("-")]


@pytest.mark.parametrize("i", range(len(SCHEDULES.config["settings"])))
def test_token_counts_of_the_original(i):
    setting = SCHEDULES.config["settings"][i]
    layers, tokens = numbers(setting["merge_layer"]), setting["tokens_per_frame"]
    r = schedule.resolve(setting["tome_r"], layers[0], tokens, most("tome", 1))
    clips, percent = numbers(setting["merge_frame_num"]), numbers(setting["merge_token_proportion"])
    stages = tempme.plan(
        12,
        setting["frames"],
        tokens,
        r,
        layers,
        clips,
        cross=percent[0],
        intra=percent[1],
        within=ToMe,
    )
    class_tokens = [setting["frames"] // stage.clips for stage in stages]
    counts = [(s.clips, c, s.tokens_out) for s, c in zip(stages, class_tokens, strict=True)]
    np.testing.assert_array_equal(counts, SCHEDULES.arrays[f"schedule_{i}"])
    merged = [
        (part.r, int(isinstance(part, Join)))
        for stage in stages
        for part in (stage.join, stage.merger)
        if part and part.r
    ]
    np.testing.assert_array_equal(merged, SCHEDULES.arrays[f"merged_{i}"])


@pytest.mark.parametrize("i", range(len(MERGES.config["subcases"])))
def test_merges_of_the_original(i):
    spec = MERGES.config["subcases"][i]
    arrays = {k.removesuffix(f"_{i}"): v for k, v in MERGES.arrays.items() if k.endswith(f"_{i}")}
    arrays |= {k.removeprefix("inputs/"): v for k, v in arrays.items()}
    match = jax.jit(matching.bipartite, static_argnums=(1, 2))
    pairs = match(jnp.asarray(arrays["metric"]), spec["r"], spec["cls_num"])
    if spec["r"]:
        check_decisions(pairs, spec["cls_num"], arrays)
    size = jnp.asarray(arrays["size"])[..., 0] if "size" in arrays else None
    x, size = jax.jit(merge.weighted_mean)(pairs, jnp.asarray(arrays["x"]), size)
    np.testing.assert_allclose(x, arrays["merged"], atol=1e-5)
    np.testing.assert_allclose(size, np.reshape(arrays["sizes"], size.shape), atol=1e-5)
    place = np.asarray(jax.jit(merge.destination)(pairs))
    source = np.moveaxis(np.eye(x.shape[1], dtype=np.float32)[place], 1, 2)
    np.testing.assert_array_equal(source, arrays["source"])


def check_decisions(pairs, class_tokens, theirs):
    """The original numbers even and odd patches from 0; their order among sources is nothing."""
    even, odd = class_tokens + class_tokens % 2, class_tokens + (class_tokens + 1) % 2
    unmerged = theirs["unmerged"].reshape(len(pairs.kept), -1)
    source = theirs["src"].reshape(len(pairs.kept), -1)
    kept = even + 2 * unmerged
    ours = np.asarray(pairs.kept)
    np.testing.assert_array_equal(ours[:, class_tokens : class_tokens + kept.shape[1]], kept)
    others = ours[:, class_tokens + kept.shape[1] :]
    np.testing.assert_array_equal(others[0], odd + 2 * np.arange(others.shape[1]))
    order = np.argsort(source, axis=1)
    rising = np.argsort(pairs.source, axis=1)
    np.testing.assert_array_equal(
        np.take_along_axis(np.asarray(pairs.source), rising, 1),
        even + 2 * np.take_along_axis(source, order, 1),
    )
    target = theirs["dst"].reshape(len(pairs.kept), -1)
    np.testing.assert_array_equal(
        np.take_along_axis(np.asarray(pairs.target), rising, 1),
        class_tokens + kept.shape[1] + np.take_along_axis(target, order, 1),
    )


def test_a_joined_clip_begins_with_all_class_tokens():
    """Two videos of two clips, whose class token is 0, 10, 20, 30 and whose patches follow it."""
    x = jnp.array([[[10.0 * clip + place] for place in range(3)] for clip in range(4)])
    joined = jax.jit(Join(2, 1, 0))(Tokens.traced(x), jnp.full((2, 1), 1000.0))
    np.testing.assert_array_equal(
        joined.x[..., 0], [[0, 10, 1, 2, 11, 12], [20, 30, 21, 22, 31, 32]]
    )
    np.testing.assert_array_equal(joined.size, np.ones((2, 6)))
    np.testing.assert_array_equal(joined.origin, [[0, 2, 3, 1, 4, 5]] * 2)


def test_positions_are_added_after_the_comparison():
    """Patches 1 and 3 of the joined clip are equal and merge, although their positions differ."""
    x = jnp.array([[[9.0, 9.0], [1.0, 0.0]], [[9.0, 9.0], [1.0, 0.0]]])
    joined = jax.jit(Join(2, 1, 1))(Tokens.traced(x), jnp.array([[0.0, 2.0], [0.0, 4.0]]))
    np.testing.assert_array_equal(joined.x, [[[9, 11], [9, 13], [1, 3]]])
    np.testing.assert_array_equal(joined.size, [[1, 1, 2]])
    np.testing.assert_array_equal(joined.origin, [[0, 2, 1, 2]])


@pytest.mark.parametrize(
    ("k", "class_tokens", "patches", "r", "before"),
    [(2, 1, 6, 4, 2), (3, 2, 5, 0, 1), (1, 3, 4, 2, 0), (4, 1, 2, 4, 1)],
)
def test_origin_follows_every_token(k, class_tokens, patches, r, before):
    """Tokens that were merged before stand where their origin says, and sizes count them."""

    @jax.jit
    def run(x):
        pairs = matching.bipartite(x, before, class_tokens)
        return Join(k, class_tokens, r)(merge.tokens(pairs, Tokens.traced(x)))

    x = np.random.default_rng(k).standard_normal((2 * k, class_tokens + patches, 3), np.float32)
    joined = run(x)
    assert joined.origin is not None
    mass = [np.bincount(o, minlength=joined.x.shape[1]) for o in np.asarray(joined.origin)]
    np.testing.assert_array_equal(joined.size, mass)
    flat = x.reshape(2, -1, 3)
    for video in range(2):
        places = np.asarray(joined.origin)[video]
        sums = np.zeros(joined.x.shape[1:])
        np.add.at(sums, places, flat[video])
        np.testing.assert_allclose(joined.x[video], sums / mass[video][:, None], atol=1e-5)


def test_published_cost():
    """Section 8 of the reference: 34.7 GMAC and 97 tokens of B/32, its matching apart."""
    r = schedule.resolve(2, 8, 50, most("tome", 1))
    stages = tempme.plan(12, 12, 50, r, (8, 9, 10), (2, 2, 3), cross=30, intra=10, within=ToMe)
    sizes = {"width": 768, "heads": 12, "patch_inputs": 3 * 32**2}
    layers = tempme.cost(stages, **sizes)
    assert layers[-1].tokens_out == 97
    assert layers[0].tokens_in == 600
    np.testing.assert_allclose(sum(layer.macs for layer in layers) / 1e9, 34.7 + 0.04, atol=0.05)
    plain = tempme.plan(12, 12, 50, (0,) * 8, (8,), (1,), cross=0, intra=0, within=ToMe)
    total = sum(layer.macs for layer in tempme.cost(plain, **sizes))
    np.testing.assert_allclose(total / 1e9, 52.9, atol=0.05)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (((8, 9), (2,), 30, 10), "as many of both"),
        (((), (), 30, 10), "as many of both"),
        (((9, 8), (2, 2), 30, 10), "must rise from 0 to 11"),
        (((8, 12), (2, 2), 30, 10), "must rise from 0 to 11"),
        (((8, 9), (2, 5), 30, 10), "12 frames cannot be joined by"),
        (((8, 9), (2, 0), 30, 10), "12 frames cannot be joined by"),
        (((8,), (2,), 130, 10), "must be from 0 to below 100"),
    ],
)
def test_impossible_plans(settings, fault):
    layers, clips, cross, intra = settings
    with pytest.raises(UserError, match=fault):
        tempme.plan(12, 12, 50, (2,) * 8, layers, clips, cross=cross, intra=intra, within=ToMe)


def test_another_merger_within_clips():
    """Pruning within frames and clips: more than half, as it can, at its own cost."""
    stages = tempme.plan(3, 4, 10, (7, 0), (1,), (2,), cross=0, intra=80, within=Prune)
    assert [stage.merger for stage in stages] == [Prune(7, 1), Prune(4, 2), None]
    assert [stage.tokens_out for stage in stages] == [3, 2, 2]
    first = tempme.cost(stages, width=8, heads=2, patch_inputs=12)[1]
    assert first.macs == 4 * (4 * 10 * 64 + 2 * 100 * 8 + 100 * 8 + 8 * 3 * 64)
