"""Lists of pretraining: their records, their faults, and pictures among the videos."""

import dataclasses
import itertools
import pickle

import clips
import numpy as np
import pytest
from annotation_files import record, write
from PIL import Image

from tokmerge_jax import data
from tokmerge_jax.config.testa import Data
from tokmerge_jax.data.datasets import specs, testa, video_text
from tokmerge_jax.data.datasets.galleries import Row
from tokmerge_jax.data.datasets.prepare import prepare
from tokmerge_jax.data.video import checking
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
    (records,) = read(folder)
    assert records.clips[0].path == "/far/1.mp4"


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
    store(folder)
    source = data.open_training(config(folder), 4)
    assert [row.caption for row in rows_of(source)] == ["a cat", "snow", "waves at sunset"]
    rng = np.random.default_rng(0)
    for place in range(2):
        frames = source.decoder(source.rows[place].path, rng)
        np.testing.assert_array_equal(frames, clips.draw(1, 41, 53).repeat(4, axis=0))
    frames = source.decoder(source.rows[2].path, rng)
    assert frames.shape == (4, 32, 32, 3)
    assert (np.diff(frames.mean(axis=(1, 2, 3))) > 0).all()


def store(folder):
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


def config(folder, **changes):
    base = {"dataset": "pretraining", "folder": str(folder / "data"), "decode_size": 32}
    base |= {"sampling": "draws_in_halves", "on_broken": "skip", "workers": 0}
    return Data().override({**base, **changes})


def rows_of(source):
    rows = map(source.rows.__getitem__, range(len(source)))
    return [row for row in rows if isinstance(row, Row)]


def written(folder, faults):
    """A data set of made-up records with these faults."""
    records = [record(folder, f"{i}.mp4", f"{i}.mp4", f"caption {i}") for i in range(len(faults))]
    with_faults = [
        dataclasses.replace(r, clips=(dataclasses.replace(r.clips[0], fault=fault),))
        for r, fault in zip(records, faults, strict=True)
    ]
    video_text.write(str(folder / "data"), "pretraining", {"train": with_faults})


def test_rows_are_read_when_they_are_asked_for(folder, monkeypatch):
    written(folder, ["", "cut", "", "missing", ""])
    reads = []
    plain = video_text._record
    monkeypatch.setattr(video_text, "_record", lambda *of: reads.append(of) or plain(*of))
    source = data.open_training(config(folder), 4)
    assert len(source) == 3
    packed = pickle.dumps(source)
    assert len(packed) < 1000
    assert len(reads) == 2  # the broken ones, which an error would name
    assert source.rows[1] == Row(str(folder / "videos/2.mp4"), "caption 2", 2)
    assert len(reads) == 3
    assert len(pickle.dumps(source)) == len(packed)  # open files do not travel
    there = pickle.loads(packed)
    assert [row.match_id for row in rows_of(there)] == [0, 2, 4]
    assert rows_of(there) == rows_of(source)


def test_unusable_files_and_old_data_sets_are_told(folder):
    written(folder, ["", "cut", "", "missing", *["cut"] * 3])
    named = (
        r"5 videos of pretraining .*\(1\.mp4: cut; 3\.mp4: missing; 4\.mp4: cut; .*6\.mp4: cut\)"
    )
    with pytest.raises(UserError, match=named):
        data.open_training(config(folder, on_broken="stop"), 4)
    (file,) = (folder / "data").rglob("train_usable.npy")
    file.unlink()
    with pytest.raises(UserError, match=r"data set pretraining in .* is damaged; prepare it again"):
        data.open_training(config(folder), 4)
    written(folder, ["cut"])
    with pytest.raises(UserError, match="no video of pretraining, split train, can be read"):
        data.open_training(config(folder), 4)


@dataclasses.dataclass(frozen=True)
class Corner:
    """Frames -> their first pixels."""

    def __call__(self, frames, rng):
        return np.ascontiguousarray(frames[:, :1, :1])


def ids_of(rows):
    return {"ids": np.array([row.match_id for row in rows])}


@pytest.mark.slow
def test_workers_read_rows_themselves(folder):
    store(folder)

    def batches(workers):
        source = data.open_training(config(folder, workers=workers), 4)
        made = source.batches(Corner(), ids_of, 3, 0)
        return list(itertools.islice(made, 2))

    here, there = batches(0), batches(2)
    for one, other in zip(here, there, strict=True):
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])
    assert sorted(here[0]["ids"]) == [0, 1, 2]
