"""TESTA's retrieval system: the original's scores, its trace, and settings that cannot work."""

import functools

import golden
import jax
import numpy as np
import pytest
import row_batches
import testa_case
from dense import dense

import tokmerge_jax
from tokmerge_jax import evaluation, parallel
from tokmerge_jax.config.evaluation import SummingOptions
from tokmerge_jax.evaluation import metrics
from tokmerge_jax.runtime import Stopwatch
from tokmerge_jax.types import UserError

CASE = golden.load("testa-retrieval")


@pytest.fixture(scope="module")
def small():
    return testa_case.system_of(CASE)


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.slow
def test_retrieval_is_the_originals(small, tmp_path):
    system, params = small
    clips, expected = testa_case.videos(CASE), CASE.arrays

    context = evaluation.Context(
        evaluation.Model(params, parallel.make_mesh(1)),
        functools.partial(row_batches.batches, np.asarray(clips)),
        evaluation.Store(tmp_path, {}),
        Stopwatch(),
    )
    assert system.retrieval
    scores = evaluation.evaluate(
        context,
        system.retrieval,
        len(clips),
        (expected["in/ids"].astype(np.int32), expected["in/mask"] > 0),
        SummingOptions(batch_size=5, top_k=CASE.config["k_test"]),
    )
    scores = dense(scores)
    close(scores.similarity, expected["sims"])
    for ours, theirs in (
        (scores.text_to_video, expected["score_t2v"]),
        (scores.video_to_text, expected["score_v2t"]),
    ):
        np.testing.assert_array_equal(ours > -99, theirs > -99)
        close(ours, theirs)
        ranking, expected_ranking = (np.argsort(-x, axis=1)[:, :4] for x in (ours, theirs))
        np.testing.assert_array_equal(ranking, expected_ranking)
    truth = [[i % len(clips)] for i in range(CASE.config["n_text"])]
    computed = metrics.both_directions(scores.text_to_video, scores.video_to_text, truth)
    for direction, short in (("text_to_video", "vid"), ("video_to_text", "txt")):
        for k in (1, 5, 10):
            wanted = expected[f"metric/{short}_r{k}"]
            assert computed[direction][f"R@{k}"] == pytest.approx(float(wanted), abs=0.006)


@pytest.mark.slow
def test_features_are_the_originals(small):
    system, params = small
    seen = jax.jit(system.retrieval.encode_video)(params, testa_case.videos(CASE)[:2])
    np.testing.assert_allclose(seen["embedding"][:, 0], CASE.arrays["video_embeds"][:2], atol=1e-5)
    theirs = CASE.arrays["video_tokens"][:2]
    frames, patches = 3, 10  # 6 less 3, 16 less 6
    rest = theirs[:, 1:].reshape(2, patches, frames, -1).swapaxes(1, 2).reshape(2, -1, 64)
    close(seen["tokens"], np.concatenate([theirs[:, :1], rest], axis=1))
    trace = jax.jit(system.trace_video)(params, testa_case.videos(CASE)[:1])
    assert [size.shape[1] for size in trace["size"]] == [5 * 14, 4 * 12, 3 * 10]
    held = np.bincount(np.asarray(trace["origin"][-1][0]), minlength=30)
    np.testing.assert_array_equal(held, trace["size"][-1][0])
    assert trace["saliency"] == []
    for left, (frames, origin) in enumerate(zip(trace["frames"], trace["origin"], strict=True)):
        assert len(np.unique(frames)) == 5 - left
        held_by = np.asarray(origin).reshape(6, 16) // (14 - 2 * left)
        np.testing.assert_array_equal(held_by, np.repeat(frames[0], 16).reshape(6, 16))
    assert system.merging.cost[-1].tokens_out == theirs.shape[1]


@pytest.mark.parametrize(("attention", "tokens"), [("joint", 32 * 196 + 1), ("space", 32 * 197)])
def test_tokens_and_cost_of_other_attentions(attention, tokens):
    changes = {"model.merger.name": "none", "model.vision.attention": attention}
    system = tokmerge_jax.build(testa_case.testa.Retrieval().override(changes))
    assert system.merging.cost[-1].tokens_out == tokens
    seen = tokens if attention == "joint" else 197
    assert system.merging.cost[1].macs == tokens * (12 * 768**2 + 2 * seen * 768)


def test_pruning_leaves_a_patch_of_a_frame():
    config = testa_case.config_of(golden.load("testa-retrieval"))
    pruned = {"name": "prune", "r": 1000, "frames": 1000}
    system = tokmerge_jax.build(config.override({"model.merger": pruned}))
    assert system.merging.cost[-1].tokens_out == 2  # with the class token


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"vision.attention": "all"},
            "config.model.vision.attention='all' is unknown; use divided",
        ),
        ({"vision.learned_scale": True}, "set config.model.merger.frames=0"),
        ({"merger.proportional": True}, "divided attention does not use sizes"),
        ({"merger.vote": "most"}, "config.model.merger.vote='most' is unknown; use min"),
        ({"merger.name": "best"}, "merger.name='best' is unknown; use none, testa, .*prune"),
        ({"merger.name": "shift"}, "name='shift' acts at 'mlp', .* called at 'attention'; choose"),
        ({"merger.frames_by": "tome"}, "config.model.merger.frames_by='tome' acts at 'attention'"),
        ({"merger.name": "prune", "merger.r": (196,)}, "r=196 of the 197 .*; at most 195 can"),
        ({"merger.r": (90, 90)}, "merges r=90 of the 107 tokens that enter layer 1"),
        ({"merger.frames": (17,)}, "merges r=17 of the 32 tokens that enter layer 0"),
        ({"vision.attention": "joint"}, "set it to 0 for joint"),
        ({"vision.image_size": 100}, "must be a multiple of config.model.vision.patch_size=16"),
    ],
)
def test_what_cannot_work_is_reported(changes, message):
    changes = {f"model.{key}": value for key, value in changes.items()}
    with pytest.raises(UserError, match=message):
        tokmerge_jax.build(testa_case.testa.Retrieval().override(changes))
