"""Cuts between shots, on films drawn by hand: where they are, and what is none."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import clips
from tokmerge_jax.data.sampling.frames import by_intervals
from tokmerge_jax.data.video import decode
from tokmerge_jax.data.video.clips import Decoder
from tokmerge_jax.own_videos import shots, windows

DARK, GREY, LIGHT = 20, 120, 230


def beginnings(*levels):
    frames = np.repeat(np.array(levels, np.uint8)[:, None], 4, axis=1)
    return shots.beginnings([frames]).tolist()


def test_cuts_by_hand():
    assert beginnings(*[DARK] * 9) == [0]
    assert beginnings(*[DARK] * 5, *[GREY] * 5) == [0, 5]
    assert beginnings(DARK) == beginnings(DARK, DARK) == [0]
    assert beginnings(DARK, GREY) == [0, 1]
    assert beginnings(*[DARK] * 4, *[DARK + 24] * 4) == [0]
    assert beginnings(*[DARK] * 4, *[DARK + 25] * 4) == [0, 4]


def test_a_flash_is_no_cut():
    for length in (1, 2):
        assert beginnings(*[DARK] * 4, *[LIGHT] * length, *[DARK] * 4) == [0]
    assert beginnings(*[DARK] * 4, *[LIGHT] * 3, *[DARK] * 4) == [0, 4, 7]
    assert beginnings(*[DARK] * 4, LIGHT, *[GREY] * 4) == [0, 4, 5]  # between two scenes


def test_a_shot_may_have_one_frame():
    assert beginnings(0, 60, 120, 180, 240) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("frames", [11, 25])
def test_a_fade_is_no_cut(frames):
    """Also the largest one, from black to white."""
    fade = np.linspace(0, 255, frames + 1).round().astype(int)[1:-1]
    assert beginnings(*[0] * 5, *fade, *[255] * 5) == [0]


@given(
    st.lists(st.tuples(st.sampled_from([0, 50, 100, 150]), st.integers(3, 9)), min_size=1),
    st.integers(0, 9),
)
def test_shots_of_three_frames_or_more_are_told_apart(drawn, seed):
    kept = [pair for i, pair in enumerate(drawn) if not i or pair[0] != drawn[i - 1][0]]
    levels = np.repeat([level for level, _ in kept], [length for _, length in kept])
    noise = np.random.default_rng(seed).integers(0, 13, (len(levels), 8))
    cuts = np.cumsum([0, *(length for _, length in kept)])[:-1]
    frames = (levels[:, None] + noise).astype(np.uint8)
    np.testing.assert_array_equal(shots.beginnings([frames]), cuts)


@given(
    st.lists(st.sampled_from([0, 12, 24, 25, 50, 150]), min_size=1, max_size=40),
    st.lists(st.integers(1, 5), min_size=40, max_size=40),
)
def test_the_parts_in_which_frames_come_do_not_count(levels, lengths):
    frames = np.repeat(np.array(levels, np.uint8)[:, None], 4, axis=1)
    parts = [part for part in np.split(frames, np.cumsum(lengths)) if len(part)]
    expected = shots.beginnings([frames])
    np.testing.assert_array_equal(shots.beginnings(parts), expected)


def test_no_more_than_a_part_of_the_frames_is_held():
    """A film ten times as long takes some bits more for each frame, of a kilobyte of pixels."""

    def peak(parts):
        tracemalloc.start()
        shots.beginnings(np.zeros((256, 1024), np.uint8) for _ in range(parts))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(40) - peak(4) < 36 * 256 * 16


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Four scenes at 25 frames a second: 40 frames, 30 with a flash, a single one, 29."""
    folder = tmp_path_factory.mktemp("shots")
    frames = np.stack([np.full((48, 64, 3), level, np.uint8) for level in (DARK, GREY, 70, LIGHT)])
    frames = np.repeat(frames, [40, 30, 1, 29], axis=0)
    frames[:, :, :8] += np.arange(100, dtype=np.uint8)[:, None, None, None] // 5  # something moves
    frames[50] = 250
    clips.write(folder / "film.mp4", frames, gop=30)
    return folder


def test_the_cuts_of_a_file(film):
    assert shots.cuts(film / "film.mp4") == (0, 40, 70, 71)


def test_windows_end_where_shots_do(film, monkeypatch):
    """Shots are sought once, though each part is read on its own."""
    monkeypatch.setattr(windows, "_FRAMES", 8)
    sought = []

    def cuts(path):
        sought.append(path)
        return shots.cuts(path)

    monkeypatch.setattr(windows, "cuts", cuts)
    decoder = Decoder(str(film), 4, 0, by_intervals, 16)
    reader = windows.Reader(decoder, lambda frames: frames, 1.0, 1.0, cut_shots=True)
    batches = windows.batches(reader, ["film.mp4"], 0, 2, lambda *fault: pytest.fail(f"{fault}"))
    pairs = [pair for batch, clip in batches for pair in zip(batch, clip, strict=False)]
    spans = [(round(25 * window.start), round(25 * window.stop)) for window, _ in pairs]
    assert spans == [(0, 25), (15, 40), (40, 70), (70, 71), (71, 100)]
    assert [window.last for window, _ in pairs] == [False] * 4 + [True]
    for (_, clip), level in zip(pairs, (DARK, DARK, GREY, 70, LIGHT), strict=True):
        assert abs(np.median(clip) - level) < 4
    assert sought == [str(film / "film.mp4")]


def test_frames_that_the_packets_misstate_are_counted(film, monkeypatch):
    read, failed = decode.Video.read, []

    def misstated(self, *arguments):
        if not failed:
            failed.append(self._recount())
            raise decode.RecountedError
        return read(self, *arguments)

    monkeypatch.setattr(decode.Video, "read", misstated)
    assert shots.cuts(film / "film.mp4") == (0, 40, 70, 71)
    assert failed


def test_long_videos_are_read_in_parts(film, monkeypatch):
    monkeypatch.setattr(shots, "_FRAMES", 33)
    assert shots.cuts(film / "film.mp4") == (0, 40, 70, 71)
