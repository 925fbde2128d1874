"""Galleries that are read by blocks of rows: the definition, ties, any size of blocks, memory."""

import tracemalloc

import numpy as np
import pytest
import small_gallery
from hypothesis import given, settings
from hypothesis import strategies as st

from tokmerge_jax.evaluation import blocks, metrics
from tokmerge_jax.evaluation.candidates import NO_CANDIDATE, Pairs, best
from tokmerge_jax.evaluation.scores import Similarity, dual_softmax
from tokmerge_jax.types import UserError


def gallery(rng, videos, texts):
    """Similarities with many ties, and exact in any order of the sums."""
    return Similarity(*(rng.integers(-1, 2, (n, 3)).astype(np.float32) for n in (videos, texts)))


def best_by_hand(row, count):
    return sorted(sorted(range(len(row)), key=lambda j: (row[j], j))[-count:])


sizes = st.tuples(st.integers(1, 7), st.integers(1, 7), st.integers(1, 5), st.integers(1, 20))


@given(st.integers(0, 2**32 - 1), sizes, st.booleans())
def test_pairs_and_final_scores_are_those_of_the_definition(seed, size, plus):
    videos, texts, count, block = size
    rng = np.random.default_rng(seed)
    similarity = gallery(rng, videos, texts)
    whole = similarity.videos @ similarity.texts.T
    of_video = [best_by_hand(row, count) for row in whole]
    of_text = [best_by_hand(row, count) for row in whole.T]
    wanted = {(v, q) for v, row in enumerate(of_video) for q in row}
    wanted |= {(v, q) for q, row in enumerate(of_text) for v in row}
    match = rng.standard_normal(whole.shape).astype(np.float32)
    final = match + whole if plus else match
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK", block)
        pairs = Pairs(similarity, count)
        to_video, to_text = pairs.ways(match[pairs.video, pairs.text], plus)
    assert list(zip(pairs.video, pairs.text, strict=True)) == sorted(wanted)
    for computed, rows, scores in ((to_video, of_text, final.T), (to_text, of_video, final)):
        expected = np.full(scores.shape, NO_CANDIDATE)
        for row, columns in enumerate(rows):
            expected[row, columns] = scores[row, columns]
        np.testing.assert_array_equal(computed[:], expected)
    shuffled = rng.permutation(videos)
    places = pairs.places(shuffled)
    assert pairs.video[places].tolist() == sorted(pairs.video, key=shuffled.tolist().index)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.integers(1, 30))
def test_recalls_do_not_depend_on_the_blocks(seed, videos, block):
    rng = np.random.default_rng(seed)
    own = [[video] for video in range(videos)]
    several = own + rng.integers(0, videos, (3, 1)).tolist()
    for name, protocol in metrics.PROTOCOLS.items():
        right = own if name == "tempme" else several
        similarity = gallery(rng, videos, len(right))
        whole = similarity[:]
        expected = protocol.both_directions(whole.T, whole, right)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blocks, "BLOCK", block)
            assert protocol.both_directions(similarity.T, similarity, right) == expected


def test_dual_softmax_does_not_depend_on_the_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    similarity = rng.uniform(-1, 1, (9, 5)).astype(np.float32)
    expected = dual_softmax(similarity, 100.0)[:]
    monkeypatch.setattr(blocks, "BLOCK", 10)
    computed = dual_softmax(similarity, 100.0)
    np.testing.assert_allclose(computed[:], expected, rtol=1e-6)
    np.testing.assert_array_equal(computed[3:5], computed[:][3:5])


def test_an_evaluation_does_not_depend_on_the_blocks(tmp_path, monkeypatch):
    whole = small_gallery.run(tmp_path / "whole")
    monkeypatch.setattr(blocks, "BLOCK", 40)
    parts = small_gallery.run(tmp_path / "parts")
    for name in ("similarity", "text_to_video", "video_to_text"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-6)


def test_a_score_that_is_not_finite_is_named_by_its_row(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 4)
    scores = np.zeros((5, 2), np.float32)
    scores[3, 1] = np.nan
    with pytest.raises(UserError, match="the score of row 3 and column 1 is nan"):
        metrics.ranks(scores, [[0]] * 5)


def test_memory_grows_with_the_candidates(monkeypatch):
    """The peak of a gallery of 16 MB per matrix: candidates, pairs, ranks of both scores."""
    monkeypatch.setattr(blocks, "BLOCK", 2**15)
    monkeypatch.setattr(blocks, "_THREADS", 2)
    rng, count, k = np.random.default_rng(0), 2000, 4
    similarity = Similarity(*rng.standard_normal((2, count, 4)).astype(np.float32))
    right = [[text] for text in range(count)]
    tracemalloc.start()
    try:
        pairs = Pairs(similarity, k)
        ways = pairs.ways(np.zeros(len(pairs.video), np.float32), plus_similarity=True)
        for to_video, to_text in (ways, (similarity.T, similarity)):
            metrics.both_directions(to_video, to_text, right)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 128 * 2 * count * k + 16 * blocks.BLOCK


def test_as_many_candidates_as_columns_are_all():
    similarity = np.zeros((2, 3), np.float32)
    assert best(similarity, 9).columns.tolist() == [[0, 1, 2]] * 2
