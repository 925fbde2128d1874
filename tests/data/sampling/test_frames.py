"""Frame numbers against the originals', and the draws of training against their ranges."""

import json
import pathlib

import clips
import golden
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokmerge_jax import data
from tokmerge_jax.config.common import Data, TextData
from tokmerge_jax.data.datasets import video_text
from tokmerge_jax.data.datasets.video_text import Clip, Record
from tokmerge_jax.data.pixels import clip
from tokmerge_jax.data.sampling.frames import SAMPLERS, Span, sample_indices, strided
from tokmerge_jax.data.video.clips import Decoder, decoder
from tokmerge_jax.types import UserError

GOLDENS = pathlib.Path(__file__).parents[2] / "goldens"
VIDTLDR = json.loads((GOLDENS / "vidtldr-frames.json").read_text())
QA = json.loads((GOLDENS / "umtqa-frames.json").read_text())["expected"]
TEMPME = golden.load("tempme-sampling")
VIDEOS = list(enumerate(TEMPME.config["videos"]))
BEGUN = [(i, v) for i, v in VIDEOS if not v["start"] and v["video_framerate"] == 1]
READABLE = [(i, v) for i, v in VIDEOS if TEMPME.arrays[f"mask_{i}"].all()]


@pytest.mark.parametrize("case", VIDTLDR["expected"], ids=lambda c: f"{c['frames']}of{c['length']}")
def test_middle_frames(case):
    assert sample_indices(case["length"], case["frames"]).tolist() == case["middle"]


@pytest.mark.parametrize(("rule", "name"), [("eval", "ends"), ("demo", "interval_starts")])
@pytest.mark.parametrize("frames", [1, 4, 8, 12, 32])
def test_frames_of_pe_core(rule, name, frames):
    case = golden.load("pecore-frames")
    lengths = case.config["frames_in_video"]
    ours = np.stack([SAMPLERS[name](Span(length, 25.0), frames, None) for length in lengths])
    np.testing.assert_array_equal(ours, case.arrays[f"index_{rule}_{frames}"])


def test_frames_of_internvideo2():
    for row in golden.load("internvideo2-frames").spec["rows"]:
        assert sample_indices(row["length"], row["frames"]).tolist() == row["indices"]


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
    used = Span(case["length"], case["fps"], 30).used
    assert used == case["used_length"]
    assert sample_indices(used, 12).tolist() == case["middle"]


def test_no_trimming_by_default():
    assert Span(90_000, 25.0).used == 90_000


@given(st.integers(1, 5000), st.integers(1, 64))
def test_middle_frames_ascend_within_the_video(length, frames):
    chosen = sample_indices(length, frames)
    assert len(chosen) == frames
    assert chosen[0] >= 0
    assert chosen[-1] < length
    assert (np.diff(chosen) >= 0).all()


@pytest.mark.parametrize(("case", "video"), BEGUN)
@pytest.mark.parametrize("seed", [None, 0])
def test_frames_at_whole_seconds(case, video, seed):
    rng = None if seed is None else np.random.default_rng(seed)
    span = Span(video["frames_in_file"], video["fps"], video["end"] or 0)
    chosen = SAMPLERS["seconds"](span, video["max_frames"], rng)
    np.testing.assert_array_equal(chosen, TEMPME.arrays[f"frames_{case}"])


@pytest.mark.parametrize(("case", "video"), READABLE)
def test_frames_of_a_part_at_a_stride(case, video):
    start, end, rate = video["start"] or 0, video["end"] or 1e9, video["fps"]
    end += start == end  # an empty part is a second
    last = int(min(end * rate, video["frames_in_file"] - 1))
    stride = round(rate / video["video_framerate"])
    chosen = strided(int(start * rate), last, stride, video["max_frames"])
    np.testing.assert_array_equal(chosen, TEMPME.arrays[f"frames_{case}"])


@pytest.mark.parametrize(
    ("length", "rate", "frames", "expected"),
    [
        (61, 20.0, 4, [0, 20, 40, 60]),  # just enough seconds
        (60, 20.0, 4, [0, 19, 39, 59]),  # too few: from the first frame to the last
        (10, 0.2, 3, [0, 4, 9]),  # a slide show: never less than one frame on
        (9, 2.5, 5, [0, 2, 4, 6, 8]),  # half to even
    ],
)
def test_whole_seconds_by_hand(length, rate, frames, expected):
    assert SAMPLERS["seconds"](Span(length, rate), frames, None).tolist() == expected


def test_whole_seconds_of_a_beginning():
    # The frame at which 3 seconds end still counts: candidates 0, 10, 20, 30.
    assert SAMPLERS["seconds"](Span(900, 10.0, 3), 4, None).tolist() == [0, 10, 20, 30]
    assert SAMPLERS["seconds"](Span(900, 10.0, 3), 2, None).tolist() == [0, 30]


@given(st.integers(1, 5000), st.integers(1, 60), st.integers(1, 64), st.integers(0, 60))
def test_whole_seconds_ascend_within_the_beginning(length, rate, frames, seconds):
    chosen = SAMPLERS["seconds"](Span(length, float(rate), seconds), frames, None)
    last = min(length - 1, seconds * rate) if seconds else length - 1
    assert len(chosen) == frames
    assert chosen[0] == 0
    assert (np.diff(chosen) >= 0).all()
    if last // rate + 1 >= frames:
        assert (chosen % rate == 0).all()
        assert (np.diff(chosen) > 0).all()
        assert frames == 1 or chosen[-1] == last // rate * rate
    else:
        assert chosen[-1] == last


@given(st.integers(1, 900), st.integers(1, 20), st.sampled_from([0, 7, 0.5]), st.booleans())
def test_intervals_are_the_first_rule(length, frames, seconds, training):
    first, second = (np.random.default_rng(3) if training else None for _ in range(2))
    chosen = SAMPLERS["intervals"](Span(length, 25.0, seconds), frames, first)
    expected = sample_indices(Span(length, 25.0, seconds).used, frames, second)
    np.testing.assert_array_equal(chosen, expected)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set of one video, 12 frames at 4 a second, each 15 brighter than the one before."""
    folder = tmp_path_factory.mktemp("data")
    light = np.arange(0, 180, 15, dtype=np.uint8)[:, None, None, None]
    frames = np.broadcast_to(light, (12, 32, 32, 3))
    clips.write(folder / "a.mp4", frames, rate=4, options={"crf": "1"})
    record = Record((Clip("a.mp4", "a.mp4"),), ("a",))
    video_text.write(str(folder), "msrvtt", {"test": [record]})
    return folder


@pytest.mark.parametrize(
    ("sampling", "seconds", "expected"),
    [
        ("intervals", 0, [1, 5, 9]),
        ("seconds", 0, [0, 4, 8]),
        ("seconds", 1, [0, 2, 4]),
    ],
)
def test_the_frames_that_are_decoded(folder, sampling, seconds, expected):
    pixels = Decoder(str(folder), 3, seconds, SAMPLERS[sampling])("a.mp4")
    assert np.round(pixels.mean((1, 2, 3)) / 15).tolist() == expected
    chosen = {"trim_seconds": seconds, "sampling": sampling}
    config = TextData(dataset="msrvtt", folder=str(folder), workers=0).override(chosen)
    source = data.open_retrieval(config, 3)
    (batch,) = source.batches(clip.ResizeCrop(16), 1)
    expected_pixels = clip.shorter_side_crop(pixels, 16)
    np.testing.assert_array_equal(batch["video"][0], expected_pixels)


def test_an_unknown_rule_is_refused():
    with pytest.raises(
        UserError, match=r"config\.data\.sampling='middle' is unknown; known: intervals, seconds, "
    ):
        decoder(Data(sampling="middle"), 3, "")
