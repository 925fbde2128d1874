"""Frame numbers of action recognition against the original's, and the law of its draws."""

import contextlib

import golden
import numpy as np
import pytest

from tokmerge_jax.data.sampling.frames import Span
from tokmerge_jax.data.sampling.segments import RULES, Segments, neighbours
from tokmerge_jax.data.video import clips as decoding
from tokmerge_jax.data.video.frame_folder import FrameFolder
from tokmerge_jax.types import UserError

ORIGINAL = golden.load("tdsclip-frames")
NAMES = {"sth": "segments", "k400": "ticks"}
T = ORIGINAL.config["num_segments"]
LENGTHS = ORIGINAL.config["lengths"]


def original(name):
    """Numbers of the original, which count from 1, or None where it has none."""
    numbers = ORIGINAL.arrays.get(f"{name}_i")
    return None if numbers is None else (numbers - 1).tolist()


def drawn(rule, length, draws=400):
    rng = np.random.default_rng(length)
    return np.stack([RULES[rule](length, T, 1, rng) for _ in range(draws)])


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", NAMES)
def test_frames_of_evaluation(name, length):
    rule = RULES[NAMES[name]]
    assert rule(length, T, 1, None).tolist() == original(f"{name}/val_{length}")
    for clips in ORIGINAL.config["clips"]:
        chosen = rule(length, T, clips, None)
        assert chosen.tolist() == original(f"{name}/test_{length}_c{clips}")


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", NAMES)
def test_dense_frames_of_evaluation(name, length):
    for clips in (2, 4):
        expected = original(f"{name}/test_dense_{length}_c{clips}")
        assert RULES["windows"](length, T, clips, None).tolist() == expected


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", NAMES)
def test_training_draws_fill_exactly_their_ranges(name, length):
    bounds = original(f"{name}/train_bounds_{length}")
    draws = drawn(NAMES[name], length)
    if bounds is None:  # all frames, and some again
        assert name == "sth"
        assert length <= T
        assert all(set(row) == set(range(length)) for row in draws.tolist())
        assert (np.diff(draws) >= 0).all()
        return
    low, high = np.transpose(bounds)
    assert ((draws >= low) & (draws <= high)).all()
    narrow = high - low < 20
    assert (draws.min(0) == low)[narrow].all()
    assert (draws.max(0) == high)[narrow].all()


UMT = golden.load("umtrec-frames").arrays
UMT_RULES = {"k400": "sparse", "ssv2": "shifts"}


@pytest.mark.parametrize("case", [name for name in UMT if name[5].isdigit()])
def test_umt_s_frames_of_evaluation(case):
    """All lengths from 1 to 400."""
    (data, sizes), ours = case.split("/"), []
    frames, clips = map(int, sizes.split("x"))
    for length in range(1, 401):
        ours.append(RULES[UMT_RULES[data]](length, frames, clips, None))
    np.testing.assert_array_equal(ours, UMT[case])


@pytest.mark.parametrize("data", UMT_RULES)
@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 15, 16, 17, 64, 101, 400])
def test_umt_s_training_draws_fill_exactly_their_ranges(data, length):
    low, high = UMT[f"{data}/train"][length - 1].T
    draws = drawn(UMT_RULES[data], length)
    assert ((draws >= low) & (draws <= high)).all()
    narrow = high - low < 20
    assert (draws.min(0) == low)[narrow].all()
    assert (draws.max(0) == high)[narrow].all()


def test_repeats_of_short_videos_are_random():
    assert len({tuple(row) for row in drawn("segments", 5, 50)}) > 10


@pytest.mark.parametrize(
    ("length", "starts"), [(20, {0}), (128, {0}), (129, {0}), (131, {0, 1, 2})]
)
def test_dense_draws(length, starts):
    draws = drawn("windows", length, 100)
    assert set(draws[:, 0].tolist()) == starts
    assert ((draws - draws[:, :1]) % length == np.arange(0, 128, 16) % length).all()


def test_a_single_dense_clip_is_the_middle_one():
    assert RULES["windows"](138, T, 1, None).tolist() == list(range(5, 128, 16))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", NAMES)
def test_neighbours(name, length):
    rows = np.array(original(f"{name}/test_{length}_c4"))
    clamped = neighbours(rows, length, 5, wrap=False)
    assert clamped.tolist() == original(f"{name}/frames_RGB_{length}")
    wrapped = ORIGINAL.arrays.get(f"{name}/frames_video_{length}_i")  # these count from 0
    if wrapped is not None:
        assert neighbours(rows, length, 5, wrap=True).tolist() == wrapped.tolist()


def test_neighbours_by_hand():
    first, last = np.array([0]), np.array([9])
    assert neighbours(first, 10, 5, wrap=False).tolist() == [[0, 0, 0, 1, 2]]
    assert neighbours(first, 10, 5, wrap=True).tolist() == [[8, 9, 0, 1, 2]]
    assert neighbours(last, 10, 5, wrap=True).tolist() == [[7, 8, 9, 9, 9]]
    assert neighbours(first, 1, 5, wrap=True).tolist() == [[0, 0, 0, 0, 0]]
    assert neighbours(last, 10, 1, wrap=False).tolist() == [[9]]


def test_the_sampler_joins_both_clip_by_clip():
    sampler = Segments("segments", clips=4, wrap=True)
    expected = ORIGINAL.arrays["sth/frames_video_30_i"].ravel()
    assert sampler(Span(30, 12.0), T, None).tolist() == expected.tolist()
    beginning = Span(90, 12.0, 2.5)  # the first 30 frames
    assert sampler(beginning, T, None).tolist() == expected.tolist()
    assert sampler(Span(30, 12.0), T, np.random.default_rng(0)).shape == (T * 5,)


class Numbered(FrameFolder):
    """A video whose frames are single pixels that hold their numbers."""

    def __init__(self, length):
        self._names = [""] * length

    def read(self, indices):
        high, low = np.divmod(indices, 256)
        return np.stack([high, low, low], axis=-1)[:, None, None].astype(np.uint8)


def numbers(frames):
    """Those of frames of a `Numbered` video."""
    return (frames[:, 0, 0, :2].astype(int) @ [256, 1]).tolist()


@pytest.mark.parametrize("name", NAMES)
def test_files_wrap_and_folders_do_not_as_in_the_original(name, monkeypatch):
    for length in LENGTHS[1:]:
        opened = contextlib.nullcontext(Numbered(length))
        monkeypatch.setattr(decoding, "open_video", lambda *_, opened=opened: opened)
        of_files = ORIGINAL.arrays[f"{name}/frames_video_{length}_i"]  # these count from 0
        of_folders = ORIGINAL.arrays[f"{name}/frames_RGB_{length}_i"] - 1
        for wrap, expected in ((True, of_files), (False, of_folders)):
            decode = decoding.Decoder("", T, 0, Segments(NAMES[name], clips=4, wrap=wrap))
            assert numbers(decode("a.mp4")) == expected.ravel().tolist()
            assert numbers(decode("a/img_{:05d}.jpg")) == of_folders.ravel().tolist()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rule": "dense"}, r"config\.data\.sampling='dense' is unknown; known: segments, ticks"),
        ({"clips": 0}, r"config\.data\.clips=0 must be 1 or more"),
        ({"neighbours": 4}, r"config\.data\.neighbours=4 must be an odd number"),
    ],
)
def test_samplers_that_cannot_be(wrong, message):
    with pytest.raises(UserError, match=message):
        Segments(**{"rule": "segments", **wrong})
