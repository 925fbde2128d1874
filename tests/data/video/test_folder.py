"""A folder of videos without annotations: what is found in it, and how its clips are batched."""

import errno
import os
import pathlib
import re

import clips
import numpy as np
import pytest

from tokmerge_jax.data.video import checking, folder
from tokmerge_jax.data.video.clips import Decoder
from tokmerge_jax.types import UserError


def test_videos_are_found_below_too(tmp_path):
    (tmp_path / "b/c").mkdir(parents=True)
    (tmp_path / "folder.mp4").mkdir()
    for name in ("z.mp4", "b/c/y.MKV", "b/x.webm", "b/notes.txt", "mp4"):
        (tmp_path / name).write_text(name)
    listed = folder.find(tmp_path)
    assert list(listed) == ["b/c/y.MKV", "b/x.webm", "z.mp4"]
    assert listed["b/x.webm"] == (8, (tmp_path / "b/x.webm").stat().st_mtime_ns)


def test_a_folder_without_videos_is_refused(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        folder.find(pathlib.Path("nowhere"))
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "a.mp4").mkdir()
    with pytest.raises(UserError, match=r"holds no file with a video's suffix, but 1 \.txt"):
        folder.find(tmp_path)


def test_what_is_skipped_is_counted(tmp_path, capsys):
    (tmp_path / "below").mkdir()
    names = ["a.MP4", "b.gif", "c.h264", "._a.MP4", ".DS_Store", *(f"{i}.JPG" for i in range(3))]
    for name in names + [f"x.{kind}" for kind in ("aa", "bb", "cc")]:
        (tmp_path / "below" / name).touch()
    assert list(folder.find(tmp_path)) == ["below/a.MP4", "below/b.gif", "below/c.h264"]
    kinds = "3 .jpg, 1 without suffix, 1 ._*, 1 .aa, 1 .bb, 1 more"
    assert capsys.readouterr().err == f"{tmp_path}: 8 files skipped: {kinds}\n"
    assert folder.listed(tmp_path) == [tmp_path / name for name in folder.find(tmp_path)]
    for name in ("a.MP4", "b.gif", "c.h264"):
        (tmp_path / "below" / name).unlink()
    capsys.readouterr()
    assert folder.listed(tmp_path) == []
    assert capsys.readouterr().err == ""  # it may be a folder of frames


def refuse(monkeypatch, name, refused, number):
    """Has a function of `os` refuse one path."""
    function = getattr(os, name)

    def refusing(path, *args, **options):
        if str(path) == str(refused):
            raise OSError(number, os.strerror(number), str(path))
        return function(path, *args, **options)

    monkeypatch.setattr(os, name, refusing)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_folder_that_cannot_be_opened_is_reported(tmp_path, capsys, monkeypatch, number):
    """Where it stands for its videos; an index would forget those that it does not see."""
    (tmp_path / "closed").mkdir()
    for name in ("a.mp4", "closed/b.mp4"):
        (tmp_path / name).touch()
    refuse(monkeypatch, "scandir", tmp_path / "closed", number)
    said = rf"closed: cannot be opened \({os.strerror(number)}\)"
    assert folder.listed(tmp_path) == [tmp_path / "a.mp4"]
    assert re.search(f"{said}: left out", capsys.readouterr().err)
    with pytest.raises(UserError, match=f"{said}; change its permissions"):
        folder.find(tmp_path)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_file_that_cannot_be_looked_up_is_found(tmp_path, monkeypatch, number):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).touch()
    refuse(monkeypatch, "stat", tmp_path / "a.mp4", number)
    listed = folder.find(tmp_path)
    assert listed == {"a.mp4": (-1, 0), "b.mp4": (0, (tmp_path / "b.mp4").stat().st_mtime_ns)}
    refused = {}
    some = folder.FolderClips(["a.mp4"], Decoder(str(tmp_path), 2, 0), np.flip, 0)
    assert list(some.batches(2, refused.__setitem__)) == []
    assert os.strerror(number) in refused["a.mp4"]
    (check,) = checking.check_videos([str(tmp_path / "a.mp4")], tmp_path / "log", 0).values()
    assert check.fault == f"cannot be decoded ({os.strerror(number)})"


def test_a_link_to_nothing_is_found_and_refused(tmp_path):
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "elsewhere.mp4")
    assert folder.find(tmp_path) == {"gone.mp4": (0, 0)}
    refused = {}
    some = folder.FolderClips(["gone.mp4"], Decoder(str(tmp_path), 2, 0), np.flip, 0)
    assert list(some.batches(2, refused.__setitem__)) == []
    assert "gone.mp4" in refused["gone.mp4"]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_batches_are_full_and_name_what_is_broken(tmp_path, workers):
    paths, decoder = [f"{i}.mp4" for i in range(6)], Decoder(str(tmp_path), 2, 0)
    for i in (0, 2, 3):
        clips.write(tmp_path / paths[i], clips.draw(4, 16, 16, seed=i))
    (tmp_path / paths[1]).write_text("no video")
    clips.write_sound(tmp_path / paths[4])
    refused = {}
    some = folder.FolderClips(paths, decoder, np.flip, workers)
    batches = list(some.batches(2, refused.__setitem__))
    assert [names for names, _ in batches] == [("0.mp4", "2.mp4"), ("3.mp4",)]
    expected = [np.flip(decoder(f"{i}.mp4")) for i in (0, 2, 3, 3)]
    np.testing.assert_array_equal(np.concatenate([video for _, video in batches]), expected)
    assert list(refused) == ["1.mp4", "4.mp4", "5.mp4"]
    assert "1.mp4: cannot be decoded" in refused["1.mp4"]
    assert "4.mp4 holds no video stream" in refused["4.mp4"]
    assert "5.mp4: no such video file" in refused["5.mp4"]
