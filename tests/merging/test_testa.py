"""TESTA's aggregation: frames by vote, patches in frames, its notation, its cost."""

from functools import partial

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

from tokmerge_jax.merging import (
    Evidence,
    Prune,
    Tokens,
    ToMe,
    VidTLDR,
    matching,
    schedule,
    testa,
    testa_settings,
)
from tokmerge_jax.merging.prune import PruneFrames
from tokmerge_jax.merging.space_time import VideoTokens
from tokmerge_jax.merging.vote import Vote
from tokmerge_jax.types import UserError

MERGES = golden.load("testa-merge")
HALF = golden.load("testa-merge-halfvote")
MODES = golden.load("testa-metrics")
SCHEDULES = golden.load("testa-schedules").spec
SIZES = MERGES.config
SEED = MERGES.spec["seed"]
MOST = partial(ToMe.most, class_tokens=0)


def video(*shape, plus=0):
    return jnp.asarray(recipe.video(shape, SEED + plus))


def by_time(x):
    """[B,P,T,...] <-> [B,T,P,...]."""
    return jnp.swapaxes(x, 1, 2)


def check_frames(pairs, theirs):
    """Decisions of the original, which numbers even and odd frames from 0, at each patch alike."""
    np.testing.assert_array_equal(pairs.source, 2 * theirs["src_idx"][:, 0])
    left = theirs["unm_idx"].shape[-1]
    np.testing.assert_array_equal(np.asarray(pairs.kept)[:, :left], 2 * theirs["unm_idx"][:, 0])
    np.testing.assert_array_equal(pairs.target, left + theirs["dst_idx"][:, 0])


def merged(part):
    return {k.split("/")[1]: v for k, v in MERGES.arrays.items() if k.startswith(f"{part}/")}


@pytest.mark.slow
def test_frames_patches_and_frames_again_as_in_the_original():
    b, t, p, c = (SIZES[name] for name in "btlc")
    d, theirs = SIZES["metric_width"], merged("frame")
    keys = video(b, p, t, d)
    check_frames(matching.voted(keys, SIZES["r_frame"]), theirs)
    clip = VideoTokens.traced(by_time(video(b, p, t, c, plus=1)))
    clip = clip.merge_frames(Vote(SIZES["r_frame"]), Evidence(keys=keys))
    np.testing.assert_allclose(by_time(clip.x), theirs["x"], atol=1e-5)
    np.testing.assert_array_equal(by_time(clip.size), theirs["size"][..., 0])
    frames = clip.x.shape[1]
    holder = np.asarray(clip.origin).reshape(b, t, p) // p
    source = np.moveaxis(np.eye(frames)[holder], (2, 3), (1, 2))
    np.testing.assert_array_equal(source, theirs["source"])

    theirs = merged("patch")
    keys = video(b, frames, 1 + p, d, plus=2).reshape(-1, 1 + p, d)
    rows = video(b, frames, 1 + p, c, plus=3)
    clip = clip.replace(x=rows[:, :, 1:]).merge_patches(
        ToMe(SIZES["r_patch"], 1), Evidence(keys=keys), rows.reshape(-1, 1 + p, c)
    )
    assert clip.size is not None
    np.testing.assert_allclose(clip.x, theirs["x"][:, :, 1:], atol=1e-5)
    np.testing.assert_array_equal(clip.size, theirs["size"][:, :, 1:, 0])

    theirs, patches = merged("frame2"), clip.x.shape[2]
    keys = video(b, patches, frames, d, plus=4)
    check_frames(matching.voted(keys, SIZES["r_frame"]), theirs)
    clip = clip.replace(x=by_time(video(b, patches, frames, c, plus=5)))
    clip = clip.merge_frames(Vote(SIZES["r_frame"]), Evidence(keys=keys))
    assert clip.size is not None
    np.testing.assert_allclose(by_time(clip.x), theirs["x"], atol=1e-5)
    np.testing.assert_array_equal(by_time(clip.size), theirs["size"][..., 0])
    held = [np.bincount(row, minlength=clip.size[0].size) for row in np.asarray(clip.origin)]
    np.testing.assert_array_equal(held, np.reshape(clip.size, (b, -1)))


def test_patches_without_a_class_token_as_in_the_original():
    b, t, p, c = (SIZES[name] for name in "btlc")
    theirs, d = merged("patch_nocls"), SIZES["metric_width"]
    tokens = Tokens(video(b, t, p, c, plus=7).reshape(-1, p, c))
    keys = video(b, t, p, d, plus=6).reshape(-1, p, d)
    tokens = ToMe(SIZES["r_patch"])(tokens, Evidence(keys=keys))
    assert tokens.size is not None
    np.testing.assert_allclose(tokens.x, theirs["x"].reshape(tokens.x.shape), atol=1e-5)
    np.testing.assert_array_equal(tokens.size, theirs["size"].reshape(tokens.size.shape))


@pytest.mark.parametrize("vote", ["min", "mode_half"])
def test_votes_of_the_original(vote):
    b, t, p, d, c, r = (HALF.config[name] for name in "btldcr")
    metric = jnp.asarray(recipe.video((b, p, t, d), HALF.spec["seed"]))
    theirs = {k: HALF.arrays[f"min/{k}" if vote == "min" else k] for k in ("src_idx", "dst_idx")}
    pairs = matching.voted(metric, r, vote)
    np.testing.assert_array_equal(pairs.source, 2 * theirs["src_idx"])
    np.testing.assert_array_equal(pairs.target, t // 2 - r + theirs["dst_idx"])
    if vote == "mode_half":
        x = jnp.asarray(recipe.video((b, p, t, c), HALF.spec["seed"] + 1))
        frames = Vote(r, vote=vote)(Tokens(by_time(x)), Evidence(keys=metric))
        np.testing.assert_allclose(by_time(frames.x), HALF.arrays["x"], atol=1e-5)


def test_vote_by_mode_takes_the_most_frequent_score():
    angle = jnp.array([[0.0, 0.1, 0.5, 0.5], [0.0, 0.1, 0.5, 0.5], [0.0, 0.1, 0.5, 1.5]])
    keys = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)[None]
    first = {vote: int(matching.voted(keys, 1, vote).source[0, 0]) for vote in matching.VOTES}
    assert first == {"min": 0, "mode": 2, "mode_half": 2}


@pytest.mark.parametrize("kind", ["int", "float", "unique"])
def test_mode_of_the_original(kind):
    rows = jnp.asarray(MODES.arrays[f"mode_{kind}_in"])[..., None]
    np.testing.assert_array_equal(matching.mode(rows)[:, 0], MODES.arrays[f"mode_{kind}_out"])


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_vote_on_places_is_their_mode(count):
    """The least of equally frequent ones, of any number of votes."""
    votes = jnp.asarray(np.random.default_rng(count).integers(count, size=(3, 6, 40)))
    np.testing.assert_array_equal(matching.elected(votes, count), matching.mode(votes))


def test_nothing_to_merge_changes_nothing():
    keys = video(1, 3, 1, 4)
    np.testing.assert_array_equal(matching.voted(keys, 2).kept, [[0]])


@pytest.mark.parametrize(
    ("r_patches", "left"), [((1, 1, 1, 1), (8, 6, 4, 3)), ((0, 0, 0, 0), (8, 6, 4, 2))]
)
def test_frames_merge_up_to_the_limit_of_the_original(r_patches, left):
    """TESTA's (t - c) // 2, c = 1 where patches merge; schedule and cost know the same frames."""
    plan = testa.plan(testa.find("testa"), (2,) * 4, r_patches)

    def merged(x):
        clips = [VideoTokens(x)]
        for block in plan:
            assert block.frames is not None
            clips.append(clips[-1].merge_frames(block.frames, Evidence(keys=by_time(clips[-1].x))))
        return [clip.x for clip in clips[1:]]

    shapes = jax.eval_shape(merged, jax.ShapeDtypeStruct((1, 10, 5, 3), jnp.float32))
    assert [x.shape for x in shapes] == [(1, frames, 5, 3) for frames in left]
    most = partial(Vote.most, class_tokens=testa.protected_frames(r_patches))
    r = schedule.resolve(2, 4, 10, most)
    assert schedule.token_counts(r, 10) == (10, *left)
    plan = testa.plan(testa.find("testa"), r, r_patches)
    blocks = testa.cost(plan, 10, 5, width=8, heads=2, patch_inputs=12)[1:]
    patches = schedule.token_counts(r_patches, 5)[1:]
    tokens = [1 + t * p for t, p in zip(left, patches, strict=True)]
    assert [block.tokens_out for block in blocks] == tokens


def test_pruning_keeps_what_gets_attention():
    x = jnp.arange(12.0).reshape(1, 3, 4, 1)
    evidence = Evidence(received=jnp.array([[[3.0, 1.0, 2.0]] * 4]))
    clip = VideoTokens(x).merge_frames(PruneFrames(1), evidence)
    np.testing.assert_array_equal(clip.x[0, :, :, 0], x[0, [0, 2], :, 0])
    rows = jnp.concatenate([jnp.zeros((2, 1, 1)), clip.x[0]], axis=1)
    received = jnp.array([[0.0, 4.0, 1.0, 3.0, 2.0], [0.0, 1.0, 2.0, 3.0, 4.0]])
    clip = clip.merge_patches(Prune(2, 1), Evidence(received=received), rows)
    np.testing.assert_array_equal(clip.x[0, :, :, 0], [[0, 2], [10, 11]])
    assert clip.size is None
    with pytest.raises(UserError, match="dropped tokens cannot be followed"):
        VideoTokens.traced(x).merge_frames(PruneFrames(1), evidence)


def test_plan_gives_each_block_its_mergers():
    plan = testa.plan(testa.find("testa"), (1, 0), (0, 12), "mode")
    votes = Vote(1, class_tokens=1, vote="mode")  # patches merge, if in another block
    assert [(a.frames, a.patches) for a in plan] == [(votes, None), (None, ToMe(12, 1))]
    (only,) = testa.plan(testa.find("testa"), (1,), (0,))
    assert only.frames == Vote(1)
    (only,) = testa.plan(testa.find("prune"), (1,), (2,))
    assert (only.frames, only.patches) == (PruneFrames(1, 1), Prune(2, 1))
    (only,) = testa.plan(testa.find("vid_tldr", "prune_frames"), (1,), (2,))
    assert (only.frames, only.patches) == (PruneFrames(1, 1), VidTLDR(2, 1))
    with pytest.raises(
        UserError, match=r"config.model.merger.vote='most' is unknown; use min, mode"
    ):
        testa.plan(testa.find("testa"), (1,), (1,), "most")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("best",),
            r"config.model.merger.name='best' is unknown; use none, testa, .*prune, .*tome, .*:Cl",
        ),
        (("vote",), "config.model.merger.name='vote' acts at 'time', and here mergers"),
        (
            ("shift",),
            "config.model.merger.name='shift' acts at 'mlp', .* are called at 'attention'",
        ),
        (
            ("testa", "tome"),
            "config.model.merger.frames_by='tome' acts at 'attention', .* called at 'time'",
        ),
        (
            ("testa", "votes"),
            "config.model.merger.frames_by='votes' is unknown; use prune_frames, vote, m",
        ),
    ],
)
def test_mergers_that_do_not_fit_are_refused(names, message):
    with pytest.raises(UserError, match=message):
        testa.find(*names)


@pytest.mark.parametrize("row", SCHEDULES["parse_r"])
def test_schedules_of_the_original(row):
    r = row["r"]
    r = (r[0], float(r[1])) if row["is_tuple"] else r
    assert schedule.resolve(r, max(row["num_layers"], len(row["out"])), 10**6, MOST) == tuple(
        row["out"]
    )


@pytest.mark.parametrize("row", SCHEDULES["parse_merging_type"])
def test_merging_types_of_the_original(row):
    kind, depth = row["merging_type"], row["num_layers"]
    if row["out"] is None:
        with pytest.raises(UserError, match="the merging type 'patch&frame' is unknown"):
            testa_settings.translate(kind, [1], depth)
        return
    frames, patches = testa_settings.translate(kind, [1] * 2 * depth, depth)
    taken = zip(frames, patches, strict=True)
    got = ["&".join(["frame"] * bool(f) + ["patch"] * bool(p)) or "none" for f, p in taken]
    assert got[: len(row["out"])] == row["out"]  # an odd number of blocks loses none here


def test_numbers_are_taken_in_order():
    assert testa_settings.translate("frame&patch", [1, 2, 3, 4], 3) == ((1, 3, 0), (2, 4, 0))
    assert testa_settings.translate("patch-frame", [5, 6, 7], 4) == ((0, 6, 0, 0), (5, 0, 7, 0))
    assert testa_settings.translate("patch", (8, -1.0), 2) == ((0, 0), (16, 0))


@pytest.mark.parametrize(
    ("frames", "r_frames", "r_patches", "gmac", "tokens"),
    [
        (32, 0, 0, 785.9, 6273),
        (32, 1, 12, 419.4, 1041),
        (96, 0, 0, 2379.9, 18817),
        (96, 4, 8, 1379.9, 4801),
        (16, 1, 12, 170.5, 209),
        (8, 0, 0, 195.8, 1569),
    ],
)
def test_cost_of_the_paper(frames, r_frames, r_patches, gmac, tokens):
    plan = testa.plan(testa.find("testa"), [r_frames] * 12, [r_patches] * 12)
    layers = testa.cost(plan, frames, 196, width=768, heads=12, patch_inputs=768)
    assert round(sum(layer.macs for layer in layers) / 1e9, 1) == gmac
    assert layers[-1].tokens_out == tokens
    assert layers[1].tokens_in == layers[0].tokens_out == 1 + 196 * frames
