"""Folders of frames: how they are named, read as videos, and what is wrong with some."""

import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from tokmerge_jax.data.sampling.frames import by_interval_starts
from tokmerge_jax.data.video import checking, frame_folder
from tokmerge_jax.data.video.clips import Decoder
from tokmerge_jax.data.video.decode import open_video
from tokmerge_jax.types import UserError

NAME = "img_{:05d}.jpg"


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def extracted(folder, frames, name=NAME, first=1):
    """A folder of pictures; its path with the pattern."""
    folder.mkdir()
    for number, frame in enumerate(frames, first):
        Image.fromarray(frame).save(folder / name.format(number))
    return folder / name


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (["img_00001.jpg", "img_00002.jpg"], "img_{:05d}.jpg"),
        (["00001.jpg", "notes.txt"], "{:05d}.jpg"),
        (["frame1.PNG", "frame10.PNG", "frame2.PNG"], "frame{:01d}.PNG"),
        (["7_000012.jpeg"], "7_{:06d}.jpeg"),
        (["notes.txt", "a.mp4"], None),
        ([".hidden_1.jpg"], None),
        (["._00001.jpg", "00001.jpg", "00002.jpg"], "{:05d}.jpg"),
        (["frame10.png", "frame9.png"], "frame{:01d}.png"),
        (["00010.jpg", "100000.jpg"], "{:05d}.jpg"),
        (["1.jpg", "00001.jpg", "00002.jpg"], "{:05d}.jpg"),
        (["flow_x_00001.jpg", "flow_y_00001.jpg", "img_00001.jpg"], "img_{:05d}.jpg"),
        (["00001.jpg", "a1.png", "thumbnail0.jpg"], "{:05d}.jpg"),
    ],
)
def test_patterns(tmp_path, files, name):
    for file in files:
        (tmp_path / file).touch()
    assert frame_folder.pattern(tmp_path) == name
    if name is not None:
        assert frame_folder.is_pattern(tmp_path / name)
    assert frame_folder.pattern(tmp_path / "none") is None
    assert not frame_folder.is_pattern(tmp_path / "a{1}.mp4")


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (["flow_x_001.jpg", "f_001.jpg"], "f_001.jpg and flow_x_001.jpg"),
        (["00001.jpg", "img_00003.jpg"], "00001.jpg and img_00001.jpg"),
    ],
)
def test_several_kinds_of_pictures(tmp_path, files, named):
    for file in files:
        (tmp_path / file).touch()
    with pytest.raises(UserError, match=f"holds pictures of several kinds, {named}; keep only"):
        frame_folder.pattern(tmp_path)


def test_frames_by_number(tmp_path):
    frames = noise(12, 10, 14)
    path = extracted(tmp_path / "v", frames, "f{:01d}.png", first=0)  # f10 sorts before f2
    (tmp_path / "v" / "thumbs.db").touch()
    with open_video(path) as video:
        assert video.length == 12
        np.testing.assert_array_equal(video.read([11, 2, 10, 2]), frames[[11, 2, 10, 2]])


def test_jpegs_are_what_pillow_decodes(tmp_path):
    path = extracted(tmp_path / "v", noise(3, 10, 14))
    with open_video(path) as video:
        (made,) = video.read([1])
    np.testing.assert_array_equal(made, np.asarray(Image.open(tmp_path / "v" / "img_00002.jpg")))


def test_grey_frames_become_three_channels(tmp_path):
    (tmp_path / "v").mkdir()
    Image.fromarray(noise(5, 6)[..., 0]).save(tmp_path / "v" / "1.png")
    with open_video(tmp_path / "v" / "{:01d}.png") as video:
        assert video.read([0, 0]).shape == (2, 5, 6, 3)


def test_the_decoder_reads_them_as_videos(tmp_path):
    frames = noise(9, 4, 6)
    path = extracted(tmp_path / "v", frames, "{:05d}.png")
    decode = Decoder(str(tmp_path), 3, 0, by_interval_starts)
    np.testing.assert_array_equal(decode(str(path.relative_to(tmp_path))), frames[[0, 3, 6]])


def test_faults(tmp_path):
    path = extracted(tmp_path / "v", noise(5, 8, 8))
    last = tmp_path / "v" / "img_00005.jpg"
    assert checking.check_video(str(path)) == ""
    whole = last.read_bytes()
    for damaged in (b"no picture", whole[: len(whole) // 2]):
        last.write_bytes(damaged)
        assert "img_00005.jpg: cannot be decoded" in checking.check_video(str(path))
    Image.fromarray(noise(8, 9)).save(last)
    assert "img_00005.jpg: differs in size" in checking.check_video(str(path))
    assert checking.check_video(str(tmp_path / "v" / "{:05d}.jpg")) == (
        "the folder holds no frame with such a name"
    )


def test_frames_that_are_missing(tmp_path):
    path = extracted(tmp_path / "v", noise(5, 8, 8))
    os.utime(tmp_path / "v", (0, 0))
    before = checking.stamp(path)
    (tmp_path / "v" / "img_00003.jpg").unlink()
    assert checking.stamp(path) != before  # so that it is checked again
    assert checking.check_video(str(path)) == (
        "img_00003.jpg is missing; extract the frames of this video again"
    )


@pytest.mark.parametrize("number", [1, 5])
def test_frames_that_are_extracted_again_in_place(tmp_path, number):
    path = extracted(tmp_path / "v", noise(5, 8, 8))
    before, folder = checking.stamp(path), os.stat(tmp_path / "v")
    (tmp_path / "v" / NAME.format(number)).write_bytes(b"another")
    assert os.stat(tmp_path / "v").st_mtime_ns == folder.st_mtime_ns
    assert checking.stamp(path) != before
    assert checking.stamp(path) == frame_folder.stamp(path)


def test_missing_folders(tmp_path):
    path = pathlib.Path(tmp_path, "gone", NAME)
    assert checking.stamp(path) is None
    with pytest.raises(UserError, match=r"gone/img_.*no such folder of frames"), open_video(path):
        pass
    (tmp_path / "file").touch()
    assert checking.stamp(tmp_path / "file" / NAME) is None
