"""One way to find a video's file, whichever family of annotations names it."""

import json
import os
import pickle
import unicodedata

import pytest
from annotation_files import usable, videos, write

from tokmerge_jax.data.datasets.locating import Videos
from tokmerge_jax.data.datasets.prepare import prepare
from tokmerge_jax.data.datasets.specs import FAMILIES
from tokmerge_jax.data.video import checking

COMPOSED, APART = (unicodedata.normalize(form, "Café") for form in ("NFC", "NFD"))


def find(folder, *names):
    """Where a video of one of these names is found, in the folder of the videos."""
    path = Videos(folder / "videos").clip(*names).path
    return os.path.relpath(path, folder / "videos")


@pytest.mark.parametrize(
    ("there", "name", "nearest"),
    [
        (["a/b.mp4", "b.mp4"], "b.mp4", "b.mp4"),
        (["a/b.mp4", "b.mp4"], "a/b.mp4", "a/b.mp4"),
        (["c/b.mp4", "b.mp4"], "a/b.mp4", "a/b.mp4"),  # of another folder: another video
        (["a/b.webm", "c/b.mp4"], "a/b.mp4", "a/b.webm"),
        (["a/b.webm", "a/b.mkv"], "./a//b.mp4", "a/b.mkv"),
        (["a.mkv", "b/a.mp4"], "a.mp4", "b/a.mp4"),
        (["a.gif", "a.ogg", "a.webm"], "a.mp4", "a.webm"),  # a preview, and its sound
        (["a.GIF"], "a.mp4", "a.GIF"),
        (["._a.mp4", "b/._a.webm"], "a", "a.mp4"),
        (["a.mp4.part", "a.jpg"], "a", "a.mp4"),
        (["a.jpg", "a.mp4"], "a.jpg", "a.jpg"),
        ([f"{APART}.mp4"], f"{COMPOSED}.mp4", f"{APART}.mp4"),
        ([f"{COMPOSED}.mp4"], f"{APART}.mp4", f"{COMPOSED}.mp4"),
        ([f"{APART}.mp4", f"{COMPOSED}.mp4"], f"{APART}.mp4", f"{APART}.mp4"),
        ([f"{APART}.mp4", f"{COMPOSED}.mp4"], f"{COMPOSED}.mp4", f"{COMPOSED}.mp4"),
        ([f"{APART}/{APART}.webm"], f"{COMPOSED}/{COMPOSED}", f"{APART}/{APART}.webm"),
        ([f"a/{COMPOSED}.mkv", f"{APART}.webm"], COMPOSED, f"{APART}.webm"),
        (["b/a/video.mkv", "a/video.webm"], "a/video.mp4", "a/video.webm"),
    ],
)
def test_the_nearest_name_is_taken(tmp_path, there, name, nearest):
    videos(tmp_path, *there)
    assert find(tmp_path, name) == nearest


def test_links_to_folders_hold_what_lies_there(tmp_path):
    videos(tmp_path, "a.txt")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.jpg").touch()
    (tmp_path / "videos" / "linked").symlink_to(tmp_path / "elsewhere")
    assert os.path.exists(Videos(tmp_path / "videos").clip("linked/b.jpg").path)


WORDS = pickle.dumps({COMPOSED: [["x"]]})
ROWS = {
    ("umt", "msrvtt", "test"): {
        "msrvtt_ret_test1k.json": [{"video": f"{COMPOSED}.mp4", "caption": "x"}]
    },
    ("clip4clip", "msvd", "test"): {"test_list.txt": COMPOSED, "raw-captions.pkl": WORDS},
    ("testa", "didemo", "test"): {"test.jsonl": {"clip_name": COMPOSED, "caption": "x"}},
    ("testa", "pretraining", "train"): {
        "webvid.json": [{"path": f"{COMPOSED}.mp4", "caption": "x"}]
    },
    ("lists", "k400", "val"): {"val.txt": f"{COMPOSED}.mp4 3"},
    ("lists", "ssv2", "val"): {"val.txt": f"{COMPOSED}.mp4 30 3"},  # with a number of frames
}


@pytest.mark.parametrize("name", [f"{COMPOSED}.mp4", f"{APART}.mp4", f"{APART}.webm"])
@pytest.mark.parametrize(("place", "content"), ROWS.items(), ids=map("-".join, ROWS))
def test_all_families_find_alike(tmp_path, place, content, name):
    family, dataset, split = place
    write(tmp_path, content)
    videos(tmp_path, name, f"._{COMPOSED}.mp4")
    (nearest,) = FAMILIES[family].read(dataset, split, tmp_path, tmp_path / "videos")
    assert nearest.clips[0].path == str(tmp_path / "videos" / name)


def test_folders_of_frames_in_either_form(tmp_path):
    write(tmp_path, {"val.txt": f"{COMPOSED} 1 0\n{APART} b 1 0\n"})
    videos(tmp_path, f"{APART}/img_00001.jpg", f"{COMPOSED} b/img_00001.jpg")
    nearest = FAMILIES["lists"].read("ssv2", "val", tmp_path, tmp_path / "videos")
    assert [os.path.relpath(record.clips[0].path, tmp_path / "videos") for record in nearest] == [
        f"{APART}/img_{{:05d}}.jpg",
        f"{COMPOSED} b/img_{{:05d}}.jpg",
    ]


def test_names_that_no_file_can_have_are_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(checking, "_checked", usable)
    names = ["a.mp4", "x" * 300, "é" * 200 + ".mp4", "a/" * 3000, "", ".", "/"]
    rows = [{"video": name, "caption": "x"} for name in names]
    (tmp_path / "mine.json").write_text(json.dumps(rows))
    videos(tmp_path, "a.mp4")
    where = tmp_path / "mine.json", tmp_path / "videos", str(tmp_path / "data")
    (report,) = prepare("msrvtt", *where, ["test"], 1)
    assert report.missing == names[1:]


def test_a_name_that_is_there_needs_no_look_through_the_folder(tmp_path, monkeypatch):
    (tmp_path / "videos" / "a").mkdir(parents=True)
    (tmp_path / "videos" / "a" / "b.mp4").touch()
    walked = []
    monkeypatch.setattr(os, "walk", lambda folder: walked.append(folder) or [])
    assert find(tmp_path, "a/b.mp4") == "a/b.mp4"
    assert not walked
    assert find(tmp_path, "a/c.mp4") == "a/c.mp4"  # which is not there
    assert walked
