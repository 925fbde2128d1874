"""Windows: how videos are cut, what their clips are, what is decoded, and how hits are joined."""

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import clips
from tokmerge_jax.data.sampling.frames import by_intervals, sample_indices
from tokmerge_jax.data.video import decode
from tokmerge_jax.data.video.clips import Decoder
from tokmerge_jax.data.video.decode import open_video
from tokmerge_jax.own_videos import windows
from tokmerge_jax.own_videos.ranking import Hit, joined

FRAMES = 4


def halved(frames):
    return frames[:, ::2, ::2]


def reader(folder=".", length=1.0, stride=0.5, seconds=0):
    return windows.Reader(
        Decoder(str(folder), FRAMES, seconds, by_intervals), halved, length, stride
    )


def spans(frames, **how):
    return reader(**how).spans(frames, 10.0).tolist()


def test_windows_by_hand():
    assert spans(7) == [[0, 7]]
    assert spans(12) == [[0, 12]]  # hardly longer than a window
    assert spans(13) == [[0, 10], [3, 13]]
    assert spans(20) == [[0, 10], [5, 15], [10, 20]]
    assert spans(40, stride=1.0) == [[0, 10], [10, 20], [20, 30], [30, 40]]
    assert spans(500, length=0.0) == [[0, 500]]


def test_windows_of_shots_by_hand():
    def spans(frames, *shots, **how):
        return reader(**how).spans(frames, 10.0, shots).tolist()

    assert spans(30, 0, 1, 13) == [[0, 1], [1, 13], [13, 23], [16, 26], [20, 30]]
    assert spans(13, 0, 1, 13, 14) == [[0, 1], [1, 13]]  # a recount left fewer frames
    assert spans(500, 0, 200, length=0.0) == [[0, 200], [200, 500]]


@given(st.integers(1, 3000), st.floats(0.1, 20), st.floats(0.05, 1), st.floats(1, 60))
def test_windows_cover_all_of_a_video(frames, length, share, rate):
    cut = reader(length=length, stride=share * length).spans(frames, rate)
    assert (cut[0, 0], cut[-1, 1]) == (0, frames)
    assert len({*(cut[:, 1] - cut[:, 0]).tolist()}) == 1
    assert np.all(cut[1:, 0] <= cut[:-1, 1])
    assert np.all(np.diff(cut[:, 0]) > 0)


class Recounted(windows.Reader):
    """A video of three parts, which all but the first count as one and a half."""

    def __call__(self, place):
        path, first, shots = place
        total = self.per_part * 3 // 2 if first else 2 * self.per_part + 2
        first = min(first, total - 1)
        numbers = range(first, min(first + self.per_part, total))
        some = [
            windows.Window(path, float(n), n + 1.0, 9.0, total, n == total - 1) for n in numbers
        ]
        frames = np.zeros((1, 2, 2, 3), np.uint8)
        chosen = np.zeros((len(some), FRAMES), int)
        return windows.Part(some, frames, chosen, total, shots)


def test_no_window_comes_twice_after_a_recount():
    how = reader()
    recounted = Recounted(how.decoder, how.transform, how.length, how.stride)
    batches = windows.batches(recounted, ["a.mp4"], 0, 8, lambda *fault: pytest.fail(f"{fault}"))
    given = [window for some, _ in batches for window in some]
    total = how.per_part * 3 // 2
    assert [window.start for window in given] == [*range(total)]
    assert [window.last for window in given] == [False] * (total - 1) + [True]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A video of 240 frames at 25 per second, in groups of 12."""
    folder = tmp_path_factory.mktemp("windows")
    with av.open(str(folder / "film.mp4"), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"g": "12", "crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for frame in clips.draw(240, 32, 32, 0):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        file.mux(stream.encode(None))
    return folder


def read(folder, **how):
    """All windows and clips, without the padding of the last batch."""
    faults = []
    batches = windows.batches(
        reader(folder, **how), ["film.mp4"], 0, 3, lambda *_: faults.append(_)
    )
    pairs = [pair for batch, clip in batches for pair in zip(batch, clip, strict=False)]
    assert not faults
    return [window for window, _ in pairs], np.stack([clip for _, clip in pairs])


def test_clips_are_those_of_the_definition_and_frames_decoded_once(film, monkeypatch):
    """Also over several parts, at each of which a group of 12 frames may be decoded again."""
    monkeypatch.setattr(windows, "_FRAMES", 6 * FRAMES)
    decoded, decoded_of = [], decode.Video._decoded

    def noted(self, packet):
        frames = decoded_of(self, packet)
        decoded.extend(frames)
        return frames

    monkeypatch.setattr(decode.Video, "_decoded", noted)
    seen, shown = read(film)
    parts = -(-len(seen) // 6)
    assert (len(seen), [window.last for window in seen]) == (19, [False] * 18 + [True])
    assert len(decoded) <= 240 + parts * 2 * 12
    with open_video(film / "film.mp4") as video:
        whole = video.read(range(240))
    starts = np.linspace(0, 240 - 25, 19).astype(int)
    for window, clip, start in zip(seen, shown, starts, strict=True):
        assert (window.path, window.duration, window.frames) == ("film.mp4", 9.6, 240)
        assert (window.start, window.stop) == (start / 25, (start + 25) / 25)
        np.testing.assert_array_equal(clip, halved(whole[start + sample_indices(25, FRAMES)]))


def test_frames_that_are_counted_are_decoded_twice_however_many_parts_there_are(
    film, tmp_path, monkeypatch
):
    """AVI states no times: a part cannot begin at a keyframe, only where a count ended."""
    with open_video(film / "film.mp4") as video:
        clips.write(tmp_path / "film.avi", video.read(range(240)))
    monkeypatch.setattr(windows, "_FRAMES", 2 * FRAMES)
    decoded, pixels_of = [], decode.Video._frames

    def noted(self, *wanted):
        for frame in pixels_of(self, *wanted):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(decode.Video, "_frames", noted)
    how = reader(tmp_path)
    with open_video(tmp_path / "film.avi") as video:
        assert isinstance(video, decode.Video)
        assert video.counts
        whole = video.read(range(240))
    decoded.clear()
    places = [windows.Place("film.avi", first) for first in range(0, 19, 2)]
    for part in map(how, places):
        for window, chosen in zip(part.windows, part.chosen, strict=True):
            numbers = round(window.start * 25) + sample_indices(25, FRAMES)
            np.testing.assert_array_equal(part.frames[chosen], halved(whole[numbers]))
    assert 240 < len(decoded) <= 2 * 240


def test_a_whole_video_is_read_as_in_evaluation(film):
    for seconds in (0, 3):  # trimmed
        how = {"length": 0.0, "seconds": seconds}
        (window,), (clip,) = read(film, **how)
        assert (window.start, window.stop, window.last) == (0, 9.6, True)
        np.testing.assert_array_equal(clip, halved(reader(film, **how).decoder("film.mp4")))


def test_a_missing_video_is_refused(tmp_path):
    faults = []
    assert not [*windows.batches(reader(tmp_path), ["a.mp4"], 0, 2, lambda *_: faults.append(_))]
    assert faults == [("a.mp4", f"{tmp_path}/a.mp4: no such video file")]


def hit(path, start, stop, cosine):
    return Hit(path, float(start), float(stop), 60.0, cosine, None)


def test_neighbours_are_joined_by_hand():
    ranked = [
        hit("a", 10, 20, 0.9),
        hit("b", 0, 10, 0.8),
        hit("a", 15, 25, 0.76),  # the upper quarter from 0.3 to 0.9 begins at 0.75
        hit("a", 40, 50, 0.65),
        hit("a", 5, 15, 0.64),  # repeats the first
        hit("a", 20, 30, 0.4),
        hit("a", 45, 55, 0.35),
        hit("c", 0, 10, 0.3),
    ]
    assert joined(ranked) == [
        hit("a", 10, 25, 0.9), ranked[1], ranked[3], ranked[7]
    ]  # fmt: skip


def test_two_moments_that_a_window_links_are_one():
    ranked = [hit("a", 0, 4, 0.9), hit("a", 6, 9, 0.8), hit("a", 3, 7, 0.75), hit("b", 0, 9, 0.1)]
    assert joined(ranked) == [hit("a", 0, 9, 0.9), ranked[3]]
    assert joined([]) == []
