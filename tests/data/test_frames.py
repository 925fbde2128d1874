"""Frame numbers against the originals', and the draws of training against their ranges."""

import json
import pathlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokmerge_jax.data.frames import sample_indices, trimmed_length

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens"
VIDTLDR = json.loads((GOLDENS / "vidtldr-frames.json").read_text())
QA = json.loads((GOLDENS / "umtqa-frames.json").read_text())["expected"]


@pytest.mark.parametrize("case", VIDTLDR["expected"], ids=lambda c: f"{c['frames']}of{c['length']}")
def test_middle_frames(case):
    assert sample_indices(case["length"], case["frames"]).tolist() == case["middle"]


@pytest.mark.parametrize("length", QA["middle"])
def test_middle_frames_of_question_answering(length):
    assert sample_indices(int(length), 12).tolist() == QA["middle"][length]


@pytest.mark.parametrize("case", VIDTLDR["expected"], ids=lambda c: f"{c['frames']}of{c['length']}")
def test_training_draws_fill_exactly_their_ranges(case):
    frames, length, train = case["frames"], case["length"], case["train"]
    draws = np.stack(
        [sample_indices(length, frames, np.random.default_rng(seed)) for seed in range(300)]
    )
    if isinstance(train, str):  # a sorted sample of all frames, padded with its last
        distinct = draws[:, : min(frames, length)]
        assert (np.diff(distinct) > 0).all()
        assert set(distinct.flat) == set(range(length))
        assert (draws[:, len(distinct[0]) :] == distinct[:, -1:]).all()
        return
    low, high = np.transpose(train)
    assert ((draws >= low) & (draws <= high)).all()
    narrow = high - low < 20
    assert (draws.min(0) == low)[narrow].all()
    assert (draws.max(0) == high)[narrow].all()


@pytest.mark.parametrize(
    "case", VIDTLDR["expected_30s"], ids=lambda c: f"{c['length']}at{c['fps']}"
)
def test_first_thirty_seconds(case):
    used = trimmed_length(case["length"], case["fps"], 30)
    assert used == case["used_length"]
    assert sample_indices(used, 12).tolist() == case["middle"]


def test_no_trimming_by_default():
    assert trimmed_length(90_000, 25.0, 0) == 90_000


@given(st.integers(1, 5000), st.integers(1, 64))
def test_middle_frames_ascend_within_the_video(length, frames):
    chosen = sample_indices(length, frames)
    assert len(chosen) == frames
    assert chosen[0] >= 0
    assert chosen[-1] < length
    assert (np.diff(chosen) >= 0).all()
