"""Ranks and recalls: the originals' numbers, hand-written ties, the definition."""

import golden
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokmerge_jax.evaluation import metrics
from tokmerge_jax.types import UserError

NAMES = {"text_to_video": "img_r", "video_to_text": "txt_r"}


def relevant(text_to_videos):
    """The right videos of each text, from a golden's index."""
    videos = [text_to_videos[str(text)] for text in range(len(text_to_videos))]
    return [video if isinstance(video, list) else [video] for video in videos]


def check(computed, expected):
    """Our metrics against the original's by its own names."""
    for direction, name in NAMES.items():
        for k in (1, 5, 10):
            assert computed[direction][f"R@{k}"] == pytest.approx(expected[f"{name}{k}"], abs=0.006)


@pytest.mark.parametrize("kind", ["one_to_one", "several_texts", "several_videos"])
def test_equals_the_original(kind):
    case = golden.load("vidtldr-metrics")
    scores = case.arrays[f"{kind}/t2v"], case.arrays[f"{kind}/v2t"]
    truth = relevant(case.config[kind]["text_to_videos"])
    check(metrics.both_directions(*scores, truth), case.spec["expected"][kind])


@pytest.mark.parametrize("count", [p.both_directions for p in metrics.PROTOCOLS.values()])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("way", [0, 1])
def test_what_is_no_number_has_no_rank(count, number, way):
    scores = [np.eye(3), np.eye(3)]
    scores[way][1, 2] = number
    with pytest.raises(UserError, match=r"the score of row 1 and column 2 is (nan|-?inf)"):
        count(*scores, [[0], [1], [2]])


def test_of_equal_scores_the_larger_index_comes_first():
    scores = np.array([[1.0, 2.0, 2.0, 0.0], [5.0, 5.0, 5.0, 5.0]])
    assert metrics.highest(scores, 1).tolist() == [[2], [3]]
    assert metrics.ranks(scores, [[1], [0, 2]]).tolist() == [1, 1]


def test_equal_scores_by_hand():
    scores = np.array(
        [
            [1.0, 1.0, 0.0],  # the right one is as good as a wrong one
            [2.0, 0.0, 0.0],  # wrong ones are alike, which makes no rank
            [3.0, 3.0, 3.0],
            [1.0, 1.0, 0.0],  # both are right
            [5.0, 5.0, -np.inf],  # all that is ranked
            [-np.inf, 4.0, -np.inf],  # the right one is not ranked, and nothing is beside one
        ]
    )
    right = np.zeros(scores.shape, bool)
    right[[0, 1, 2, 3, 3, 4, 5], [0, 0, 2, 0, 1, 0, 0]] = True
    assert metrics.equal_scores(scores, right) == {"right_and_wrong": 3, "all": 2}


def test_recall_by_hand():
    computed = metrics.recall(np.array([0, 1, 4, 5, 9, 10]))
    expected = {"R@1": 16.67, "R@5": 50.0, "R@10": 83.33, "MedR": 5.5, "MeanR": 5.83}
    assert computed == expected


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 9))
def test_rank_counts_what_is_better(seed, rows, columns):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (rows, columns)).astype(np.float32)
    counts = rng.integers(1, columns + 1, rows)
    right = [rng.choice(columns, count, replace=False).tolist() for count in counts]
    for row, place in enumerate(metrics.ranks(scores, right)):
        better = [
            sum((scores[row, j], j) > (scores[row, one], one) for j in range(columns))
            for one in right[row]
        ]
        assert place == min(better)


@given(st.integers(0, 2**32 - 1), st.integers(1, 99), st.integers(1, 12), st.integers(1, 50))
def test_the_highest_columns_are_those_of_a_sort(seed, columns, count, values):
    scores = np.random.default_rng(seed).integers(0, values, (3, columns)).astype(np.float32)
    for row, chosen in zip(scores, metrics.highest(scores, count), strict=True):
        best = sorted(range(columns), key=lambda j: (row[j], j), reverse=True)[:count]
        assert chosen.tolist() == sorted(best)


TEMPME = golden.load("tempme-metrics")
BOTH = ("text_to_video", "video_to_text")


def tempme(computed, way):
    """R@1, 5, 10 and 50, median and mean rank."""
    return list(computed[way].values())


def test_one_caption_a_video_as_tempme_counts():
    sim = TEMPME.arrays["inputs/sim"]
    one = [[i] for i in range(len(sim))]
    for count in (metrics.grouped, metrics.every_tie):
        computed = count(sim, sim.T, one)
        for way, name in zip(BOTH, ("t2v", "v2t"), strict=True):
            np.testing.assert_allclose(tempme(computed, way), TEMPME.arrays[name], atol=0.006)
    rsum = [sum(computed[way][f"R@{k}"] for k in (1, 5, 10)) for way in BOTH]
    np.testing.assert_allclose(rsum, TEMPME.arrays["rsum"], atol=0.02)


def test_ties_as_tempme_counts():
    sim = TEMPME.arrays["inputs/sim_ties"]
    one = [[i] for i in range(len(sim))]
    computed = metrics.every_tie(sim, sim.T, one)
    for way, name in zip(BOTH, ("t2v_ties", "v2t_ties"), strict=True):
        np.testing.assert_allclose(tempme(computed, way), TEMPME.arrays[name], atol=0.006)
    with pytest.raises(UserError, match="needs one text per video"):
        metrics.every_tie(sim[:2], sim.T[:, :2], one[:2])


def test_several_captions_a_video_as_clip4clip_counts():
    sim, ends = TEMPME.arrays["inputs/multi_sim"], TEMPME.arrays["inputs/cut_off_points"]
    of = np.searchsorted(ends, np.arange(len(sim)), side="right")
    np.testing.assert_array_equal(np.bincount(of), TEMPME.config["counts"])
    computed = metrics.grouped(sim, sim.T, [[video] for video in of.tolist()])
    theirs = TEMPME.arrays["multi_t2v"], TEMPME.arrays["multi_v2t"]
    for way, expected in zip(BOTH, theirs, strict=True):
        np.testing.assert_allclose(tempme(computed, way), np.ravel(expected)[:6], atol=0.006)


def test_equal_scores_stand_in_nobodys_way():
    scores = np.array([[1.0, 1.0, 1.0], [2.0, 1.0, 1.0], [2.0, 2.0, 1.0]])
    computed = metrics.grouped(scores, scores.T, [[0], [1], [2]])
    assert computed["text_to_video"]["R@1"] == pytest.approx(33.33)
    assert computed["text_to_video"]["MeanR"] == 2.0
    assert computed["video_to_text"]["MeanR"] == 2.0
