"""Retrieval by embeddings alone: models without a matching head, and dual-softmax scores."""

import dataclasses

import numpy as np
import pytest
import small_gallery
from dense import dense

from tokmerge_jax import evaluation, parallel
from tokmerge_jax.config import umt
from tokmerge_jax.config.evaluation import RetrievalOptions
from tokmerge_jax.evaluation.scores import dual_softmax
from tokmerge_jax.runtime import Stopwatch
from tokmerge_jax.types import UserError


def encode_video(params, video):
    return {"embedding": small_gallery.encode_video(params, video)["embedding"]}


def encode_text(params, text_ids, text_mask):
    return {"embedding": small_gallery.encode_text(params, text_ids, text_mask)["embedding"]}


TOWERS = dataclasses.replace(
    small_gallery.RETRIEVAL, encode_video=encode_video, encode_text=encode_text, matching=None
)


def run(folder, towers=TOWERS, **options):
    context = evaluation.Context(
        evaluation.Model(small_gallery.PARAMS, parallel.make_mesh(1)),
        small_gallery.batches,
        evaluation.Store(folder, {"gallery": "plain"}),
        Stopwatch(),
    )
    texts, options = (
        (small_gallery.IDS, small_gallery.MASK),
        RetrievalOptions(batch_size=4, **options),
    )
    return dense(evaluation.evaluate(context, towers, small_gallery.VIDEOS, texts, options))


def test_embeddings_are_all_that_is_kept(tmp_path):
    scores = run(tmp_path)
    similarity, *_ = small_gallery.by_hand()
    np.testing.assert_allclose(scores.similarity, similarity, atol=1e-5)
    np.testing.assert_array_equal(scores.text_to_video, scores.similarity.T)
    np.testing.assert_array_equal(scores.video_to_text, scores.similarity)
    kept = {file.name.split(".")[0] for file in tmp_path.rglob("*.rows")}
    assert kept == {"text_embedding", "video_embedding"}


def test_dual_softmax_scores(tmp_path):
    """From the definition, one score at a time: a softmax over all queries of what is ranked."""
    scores = run(tmp_path, dual_softmax=20.0)
    similarity, *_ = small_gallery.by_hand()

    def score(queries, q, v):
        weights = [np.exp(20 * queries[other, v]) for other in range(len(queries))]
        return queries[q, v] * weights[q] / sum(weights)

    for computed, queries in (
        (scores.text_to_video, similarity.T),
        (scores.video_to_text, similarity),
    ):
        expected = [
            [score(queries, q, v) for v in range(queries.shape[1])] for q in range(len(queries))
        ]
        np.testing.assert_allclose(computed, expected, atol=1e-5)
    np.testing.assert_allclose(scores.similarity, similarity, atol=1e-5)


def test_scores_that_are_not_finite_have_no_ranks(tmp_path):
    def broken(params, text_ids, text_mask):
        embedding = encode_text(params, text_ids, text_mask)["embedding"]
        return {"embedding": embedding.at[2].set(np.nan)}

    with pytest.raises(UserError, match=r"the embedding of text 2 is nan: .*config\.checkpoint"):
        run(tmp_path, dataclasses.replace(TOWERS, encode_text=broken))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_stored_features_that_are_damaged_have_no_ranks(tmp_path, number):
    run(tmp_path)
    rows = evaluation.Store(tmp_path, {"gallery": "plain"}).open("video_embedding")
    assert rows is not None
    damaged = np.array(rows.values[5:6])
    damaged[0, 0, 1] = number
    rows.write(np.array([5]), damaged)
    with pytest.raises(UserError, match=r"the embedding of video 5 is (nan|-?inf)"):
        run(tmp_path)


def test_dual_softmax_of_large_scales_is_finite():
    scores = dual_softmax(np.array([[1.0, -1.0], [0.5, 0.9]], np.float32), 1e4)[:]
    np.testing.assert_allclose(scores, [[1.0, 0.0], [0.0, 0.9]], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dual_softmax": -1.0}, "eval.dual_softmax=-1.0 must be 0 or more"),
        ({"dual_softmax": 100.0, "rerank": True}, "exclude each other"),
        ({"metrics": "recall"}, "eval.metrics='recall' is unknown; use umt, clip4clip, tempme"),
    ],
)
def test_wrong_options(options, says):
    with pytest.raises(UserError, match=says):
        umt.Retrieval().override({"eval": options}).check()
