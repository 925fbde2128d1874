"""Selective decoding against decoding everything, on real files of many kinds."""

import clips
import numpy as np
import pytest

from tokmerge_jax.data import video
from tokmerge_jax.types import UserError

OPEN_GOP = {"x264-params": "open-gop=1:bframes=3:keyint=10:min-keyint=10:b-adapt=0"}
UNEVEN = [1234 + 40 * i + 7 * (i % 3) + (900 if i > 20 else 0) for i in range(61)]
KINDS = {
    "b_frames.mp4": {},
    "no_b_frames.mp4": {"b_frames": 0},
    "only_keyframes.mp4": {"gop": 1},
    "one_keyframe.mp4": {"gop": 250, "b_frames": 5},
    "open_gop.mp4": {"options": OPEN_GOP},
    "open_gop.ts": {"options": OPEN_GOP},
    "uneven.mp4": {"ticks": UNEVEN},
    "uneven.mkv": {"ticks": UNEVEN},
    "b_frames.ts": {},
    "b_frames.avi": {},
    "no_frame_count.h264": {},
    "xvid.avi": {"codec": "mpeg4", "options": {"q": "3"}},
    "vp9.webm": {"codec": "libvpx-vp9", "b_frames": 0, "options": {"deadline": "realtime"}},
}
CHOICES = ([0], [60], [11, 12, 13], [60, 0, 30, 29, 0], list(range(61)), list(range(2, 61, 5)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("videos")


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("size", [(48, 64), (51, 67)], ids=["even", "odd"])
def test_chosen_frames_equal_those_of_a_full_decode(folder, name, size):
    path = clips.write(folder / name, clips.draw(61, *size), **KINDS[name])
    full = clips.decode_all(path)
    with video.open_video(path) as opened:
        assert opened.length == len(full) == 61
        for chosen in CHOICES:
            np.testing.assert_array_equal(opened.read(chosen), full[chosen])


def test_pictures_come_back(folder):
    drawn = clips.draw(20, 48, 64)
    path = clips.write(folder / "true.mp4", drawn, options={"crf": "5"})
    with video.open_video(path) as opened:
        found = opened.read(range(20)).astype(int)
    assert np.abs(found - drawn).mean() < 6  # lossy, but these frames in this order
    distance = np.abs(found[:, None] - drawn[None].astype(int)).mean((2, 3, 4))
    assert (distance.argmin(1) == np.arange(20)).all()


def test_only_the_wanted_groups_are_decoded(folder, monkeypatch):
    path = clips.write(folder / "long.mp4", clips.draw(240, 48, 64), gop=20)
    decoded = []
    pixels = video.Video._frames

    def counting(self, *args):
        for frame in pixels(self, *args):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(video.Video, "_frames", counting)
    with video.open_video(path) as opened:
        opened.read([5, 100])
    assert len(decoded) <= 2 * 20 + 4


def test_rate_and_length(folder):
    path = clips.write(folder / "rate.mp4", clips.draw(45, 48, 64), rate=15)
    with video.open_video(path) as opened:
        assert (opened.length, opened.rate) == (45, 15.0)


@pytest.mark.parametrize("content", [b"", b"no video", bytes(4000)], ids=["empty", "text", "zeros"])
def test_broken_files_are_named(tmp_path, content):
    path = tmp_path / "broken.mp4"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.mp4: cannot be decoded"), video.open_video(path):
        pass


def test_missing_files_are_named(tmp_path):
    with (
        pytest.raises(UserError, match=r"gone\.mp4: no such"),
        video.open_video(tmp_path / "gone.mp4"),
    ):
        pass


def test_damaged_frames_are_named(folder):
    path = clips.write(folder / "whole.mp4", clips.draw(61, 48, 64))
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 2000
    content[start : start + 3000] = b"\xff" * 3000
    damaged = folder / "damaged.mp4"
    damaged.write_bytes(content)
    with video.open_video(damaged) as opened:
        assert opened.length == 61
        with pytest.raises(UserError, match=r"damaged\.mp4: .*cannot be decoded"):
            opened.read(range(61))


def test_a_sound_file_is_no_video(tmp_path):
    path = clips.write_sound(tmp_path / "sound.mp4")
    with pytest.raises(UserError, match="no video stream"), video.open_video(path):
        pass


def test_display_rotation_is_applied(folder):
    path = clips.write(folder / "upright.mp4", clips.draw(5, 48, 64))
    turned = clips.rotate(path, folder / "turned.mp4")
    with video.open_video(path) as upright, video.open_video(turned) as other:
        np.testing.assert_array_equal(other.read([3])[0], np.rot90(upright.read([3])[0]))
