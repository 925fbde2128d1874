"""TESTA's frame numbers against the original's; the drawn ones against what they may be."""

import json
import pathlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokmerge_jax.data.sampling.frames import SAMPLERS, Span, sample_indices

ROWS = json.loads((pathlib.Path(__file__).parents[2] / "goldens/testa-frames.json").read_text())
NAMES = {
    "uniform": "strides",
    "nlvl_uniform": "interval_starts",
    "nlvl_rand": "random_offsets",
    "rand": "draws",
    "headtail": "draws_in_halves",
}
WHOLE = [row for row in ROWS["rows"] if "start_time" not in row]  # no data set has parts
DRAWN = {row["strategy"]: row for row in WHOLE if any("_seed" in key for key in row)}
SAME = [row for row in WHOLE if row["strategy"] not in DRAWN]


def choose(strategy, length, frames, seconds=0, rng=None):
    return SAMPLERS[NAMES[strategy]](Span(length, 25.0, seconds), frames, rng)


@pytest.mark.parametrize(
    "row", SAME, ids=lambda r: f"{r['strategy']}-{r['num_frames']}of{r['video_length']}"
)
def test_frames_of_the_original(row):
    for rng in (None, np.random.default_rng(0)):
        chosen = choose(row["strategy"], row["video_length"], row["num_frames"], rng=rng)
        assert chosen.tolist() == row["indices"]
        assert chosen.dtype == np.int64


def test_every_strategy_has_its_golden():
    assert len(SAME) == 2 * 3 * 18
    assert set(DRAWN) == {"rand", "headtail", "nlvl_rand"}


def draws(strategy, length, frames, count=2000):
    rng = np.random.default_rng(0)
    return np.stack([choose(strategy, length, frames, rng=rng) for _ in range(count)])


def ranges(strategy, length, frames):
    """The first and last number that may stand at each place, from the definition."""
    place = np.arange(frames)
    if strategy == "nlvl_rand":
        low = place * length // frames
        return low, low + length // frames - 1
    if strategy == "rand":
        return place, length - frames + place
    half, middle = frames // 2, length // 2
    low = np.where(place < half, place, middle + place - half)
    return low, low + np.where(place < half, middle - half, length - middle - frames + half)


@pytest.mark.parametrize("strategy", DRAWN)
def test_the_original_s_draw_is_one_of_ours(strategy):
    row = DRAWN[strategy]
    low, high = ranges(strategy, row["video_length"], row["num_frames"])
    assert (low <= row["indices"]).all()
    assert (row["indices"] <= high).all()


@pytest.mark.parametrize("strategy", DRAWN)
@pytest.mark.parametrize(("length", "frames"), [(9, 4), (12, 6), (13, 5)])
def test_draws_fill_exactly_their_ranges(strategy, length, frames):
    chosen = draws(strategy, length, frames)
    low, high = ranges(strategy, length, frames)
    np.testing.assert_array_equal(chosen.min(0), low)
    np.testing.assert_array_equal(chosen.max(0), high)
    assert (np.diff(chosen) > 0).all()


def test_each_offset_is_as_likely():
    offsets = draws("nlvl_rand", 90, 8) - np.arange(8) * 90 // 8
    share = np.stack([(offsets == i).mean(0) for i in range(11)])
    np.testing.assert_allclose(share, 1 / 11, atol=0.03)  # 4 to 5 deviations of 2000 draws
    together = np.corrcoef(offsets.T) - np.eye(8)  # each is drawn for itself
    np.testing.assert_allclose(together, 0, atol=0.1)


def test_each_frame_is_as_likely():
    counts = np.bincount(draws("rand", 10, 4).ravel(), minlength=10) / 2000
    np.testing.assert_allclose(counts, 0.4, atol=0.05)
    counts = np.bincount(draws("headtail", 11, 5).ravel(), minlength=11) / 2000
    np.testing.assert_allclose(counts, [2 / 5] * 5 + [3 / 6] * 6, atol=0.05)


@pytest.mark.parametrize("strategy", DRAWN)
def test_draws_follow_the_generator(strategy):
    first, again, other = (
        choose(strategy, 500, 8, rng=np.random.default_rng(s)) for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_evaluation_draws_nothing():
    starts = choose("nlvl_uniform", 90, 8)
    np.testing.assert_array_equal(choose("nlvl_rand", 90, 8), starts)
    for strategy in ("rand", "headtail"):
        np.testing.assert_array_equal(choose(strategy, 90, 8), sample_indices(90, 8))


@pytest.mark.parametrize(
    ("strategy", "length", "frames", "expected"),
    [
        ("rand", 3, 5, [0, 1, 2, 2, 2]),
        ("headtail", 1, 4, [0, 0, 0, 0]),
        ("headtail", 3, 6, [0, 0, 0, 1, 2, 2]),
        ("headtail", 2, 1, [1]),
        ("nlvl_rand", 2, 4, [0, 0, 1, 1]),
    ],
)
def test_draws_of_short_videos(strategy, length, frames, expected):
    assert choose(strategy, length, frames, rng=np.random.default_rng(0)).tolist() == expected


@pytest.mark.parametrize("strategy", NAMES)
def test_only_the_beginning_counts(strategy):
    rng = np.random.default_rng(3), np.random.default_rng(3)
    for first, second in (rng, (None, None)):  # 4 seconds at 25 a second
        chosen = choose(strategy, 900, 8, seconds=4, rng=first)
        np.testing.assert_array_equal(chosen, choose(strategy, 100, 8, rng=second))


@given(st.sampled_from(list(NAMES)), st.integers(1, 300), st.integers(1, 40), st.booleans())
def test_frames_ascend_within_the_video(strategy, length, frames, training):
    rng = np.random.default_rng(length) if training else None
    chosen = choose(strategy, length, frames, rng=rng)
    assert chosen.shape == (frames,)
    assert 0 <= chosen[0] <= chosen[-1] < length
    assert (np.diff(chosen) >= 0).all()
