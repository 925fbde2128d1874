"""Lists of pretraining: their records, their faults, and pictures among the videos."""

import dataclasses

import clips
import numpy as np
import pytest
from annotation_files import record, write
from ml_collections import ConfigDict
from PIL import Image

from tokmerge_jax import data
from tokmerge_jax.data import checking
from tokmerge_jax.data.datasets import specs, testa, video_text
from tokmerge_jax.data.pairs import Row
from tokmerge_jax.data.preparing import prepare
from tokmerge_jax.types import UserError

WEBVID = [
    {"path": "webvid/000/1.mp4", "caption": "waves at sunset", "other": 1},
    {"path": "webvid/000/2.mp4", "caption": "a dog"},
]
CC3M = [{"path": "cc3m/7.jpg", "caption": "a cat"}, {"path": "cc3m/8", "caption": "snow"}]


@pytest.fixture
def folder(tmp_path):
    for name in ("lists", "videos/webvid/000", "videos/cc3m"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def read(folder):
    return testa.read("pretraining", "train", folder / "lists", folder / "videos")


def test_all_lists_of_a_folder_are_one_data_set(folder):
    write(folder / "lists", {"webvid.json": WEBVID, "cc3m.json": CC3M, "notes.txt": "x"})
    assert read(folder) == (
        record(folder, "cc3m/7.jpg", "cc3m/7.jpg", "a cat"),
        record(folder, "cc3m/8", "cc3m/8", "snow"),
        record(folder, "webvid/000/1.mp4", "webvid/000/1.mp4", "waves at sunset"),
        record(folder, "webvid/000/2.mp4", "webvid/000/2.mp4", "a dog"),
    )
    assert specs.splits("pretraining") == ("train",)


def test_paths_may_be_absolute(folder):
    write(folder / "lists", {"all.json": [{"path": "/far/1.mp4", "caption": "a dog"}]})
    (found,) = read(folder)
    assert found.clips[0].path == "/far/1.mp4"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "names no video"),
        ({"path": "1.mp4"}, r"b\.json: must be a list"),
        ([*WEBVID, {"path": "3.mp4"}], r"b\.json, record 2: field 'caption' is missing"),
        ([{"caption": "x"}], r"b\.json, record 0: field 'path' is missing"),
        ([{"path": 3, "caption": "x"}], r"b\.json, record 0, field 'path': must be a text, not 3"),
        (["1.mp4"], r"b\.json, record 0: must be an object"),
        ("[", r"b\.json: cannot be read as JSON"),
    ],
)
def test_faults_are_told(folder, rows, message):
    write(folder / "lists", {"b.json": rows})
    with pytest.raises(UserError, match=message):
        read(folder)


def prepared(folder, source="lists", splits=("train",)):
    target = str(folder / "data")
    return prepare("pretraining", folder / source, folder / "videos", target, splits, 1)


def test_what_prepares_nothing_is_told(folder):
    with pytest.raises(UserError, match=r"no such annotation files \(split train\): \*\.json"):
        prepared(folder)
    write(folder / "lists", {"webvid.json": WEBVID})
    with pytest.raises(UserError, match="TESTA's files are found by their names; give their fold"):
        prepared(folder, "lists/webvid.json")
    with pytest.raises(UserError, match="pretraining has the splits train"):
        prepared(folder, splits=("test",))


def test_pictures_are_repeated_and_broken_files_left_out(folder):
    """Two videos, one of them broken, and two pictures, one of them without a suffix."""
    write(folder / "lists", {"webvid.json": WEBVID, "cc3m.json": CC3M})
    clips.write(folder / "videos/webvid/000/1.mp4", clips.draw(9, 48, 64))
    (folder / "videos/webvid/000/2.mp4").write_bytes(b"no video")
    picture = Image.fromarray(clips.draw(1, 41, 53)[0])
    for name in ("7.jpg", "8"):
        picture.save(folder / "videos/cc3m" / name, "PNG")
    faults = [checking.check_video(r.clips[0].path) for r in read(folder)]
    assert [bool(fault) for fault in faults] == [False, False, False, True]
    records = [
        dataclasses.replace(r, clips=(dataclasses.replace(r.clips[0], fault=fault),))
        for r, fault in zip(read(folder), faults, strict=True)
    ]
    video_text.write(str(folder / "data"), "pretraining", {"train": records})
    config = ConfigDict(
        {
            "dataset": "pretraining",
            "folder": str(folder / "data"),
            "paragraph": False,
            "sampling": "draws_in_halves",
            "decode_size": 32,
            "trim_seconds": 0,
            "on_broken": "skip",
            "workers": 0,
        }
    )
    source = data.open_training(config, 4)
    captions = [row.caption for row in source.rows if isinstance(row, Row)]
    assert captions == ["a cat", "snow", "waves at sunset"]
    rng = np.random.default_rng(0)
    for row in source.rows[:2]:
        frames = source.decoder(row.path, rng)
        np.testing.assert_array_equal(frames, clips.draw(1, 41, 53).repeat(4, axis=0))
    frames = source.decoder(source.rows[2].path, rng)
    assert frames.shape == (4, 32, 32, 3)
    assert (np.diff(frames.mean(axis=(1, 2, 3))) > 0).all()
