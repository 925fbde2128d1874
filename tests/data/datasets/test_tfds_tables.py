"""Data sets that TFDS prepared: their frames, files and texts, read without TensorFlow."""

import contextlib
import io
import json
import os
import pathlib
import sys

import clips
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from tokmerge_jax.data.datasets import own, video_text
from tokmerge_jax.data.datasets.prepare import prepare_own
from tokmerge_jax.data.datasets.video_text import Action, Record
from tokmerge_jax.types import UserError

FRAMES = [clips.draw(5, 32, 48), clips.draw(4, 33, 47, seed=1)]  # also odd sizes
TEXT = tfds.features.Text()


class Made(tfds.core.GeneratorBasedBuilder):
    """A small data set whose features and examples are given."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, features, splits, **settings):
        self.made, self.given = features, splits
        super().__init__(file_format="array_record", **settings)

    def _info(self):
        features = tfds.features.FeaturesDict(self.made)
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        return {name: self._generate_examples(rows) for name, rows in self.given.items()}

    def _generate_examples(self, rows):
        yield from enumerate(rows)


@pytest.fixture
def made(tmp_path):
    """A function of (features, splits): prepares them by TFDS, and returns the folder."""

    def make(features, splits):
        tfds.disable_progress_bar()
        with contextlib.redirect_stdout(io.StringIO()):
            builder = Made(features, splits, data_dir=str(tmp_path / "tfds"))
            builder.download_and_prepare()
        return tmp_path / "tfds" / "made" / "1.0.0"

    return make


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    file.seek(0)
    return file


FRAMES_AS = {
    "array": (
        tfds.features.Tensor(shape=(None, None, None, 3), dtype=np.uint8, encoding="zlib"),
        FRAMES,
    ),
    "images": (  # how TFDS's own feature Video stores its frames
        tfds.features.Sequence(tfds.features.Image(shape=(None, None, 3))),
        [[png(pixels) for pixels in frames] for frames in FRAMES],
    ),
}


@pytest.mark.parametrize("stored", FRAMES_AS)
def test_frames_become_videos_of_exactly_these_pixels(tmp_path, made, stored):
    feature, cells = FRAMES_AS[stored]
    features = {"video": feature, "caption": tfds.features.Sequence(TEXT), "id": TEXT}
    rows = [{"video": cell, "caption": ["a", "b"], "id": "x"} for cell in cells]
    source = made(features, {"validation": rows[:1], "test": rows[1:]})
    folder = tmp_path / "data"
    val, test = prepare_own(source, None, str(folder), (), workers=0)
    assert [(r.split, r.texts, r.usable) for r in (val, test)] == [("val", 2, 1), ("test", 2, 1)]
    for split, frames in zip(("val", "test"), FRAMES, strict=True):
        (record,) = video_text.read(str(folder), "custom", split)
        assert isinstance(record, Record)
        assert record.captions == ("a", "b")
        np.testing.assert_array_equal(clips.decode_all(pathlib.Path(record.clips[0].path)), frames)
    files = sorted((folder / "custom_videos").iterdir())
    os.utime(files[0], (1, 1))
    prepare_own(source, None, str(folder), (), workers=0)
    assert files[0].stat().st_mtime == 1  # is not written again


def test_files_and_labels_are_as_in_other_tables(tmp_path, made):
    path = clips.write(tmp_path / "a.mp4", FRAMES[0])
    features = {
        "video": tfds.features.Scalar(dtype=np.str_),
        "label": tfds.features.ClassLabel(names=["run", "eat"]),
    }
    source = made(features, {"test": [{"video": path.read_bytes(), "label": "eat"}]})
    tables = own.read(source, videos=tmp_path / "videos")
    (row,) = tables.rows["test"]
    assert (tmp_path / "videos" / row.video).read_bytes() == path.read_bytes()
    assert (tables.kind, tables.names()) == ("actions", ("0", "1"))
    assert row.texts == (("1",),)


def test_paths_name_videos(tmp_path, made):
    clips.write(tmp_path / "a.mp4", FRAMES[0])
    rows = [{"video": "a.mp4", "label": 3}]
    source = made({"video": TEXT, "label": np.int64}, {"train": rows})
    (report,) = prepare_own(source, tmp_path, str(tmp_path / "data"), (), workers=0)
    assert (report.split, report.usable) == ("train", 1)
    (record,) = video_text.read(str(tmp_path / "data"), "custom", "train")
    assert isinstance(record, Action)
    assert (record.clips[0].name, record.label) == ("a.mp4", 3)


VIDEO = {  # as TFDS writes it; the constructor of this feature alone needs TensorFlow
    "pythonClassName": "tensorflow_datasets.core.features.video_feature.Video",
    "video": {"shape": {"dimensions": ["-1", "8", "8", "3"]}, "encodingFormat": "png"},
}


def test_what_cannot_be_read_is_one_sentence(tmp_path, made, monkeypatch):
    grey = tfds.features.Tensor(shape=(None, 8, 8, 1), dtype=np.uint8)
    row = {"video": np.zeros((2, 8, 8, 1), np.uint8), "caption": "c"}
    source = made({"video": grey, "caption": TEXT}, {"test": [row]})
    with pytest.raises(UserError, match=r"test, example 0: frames must be uint8 \[T,H,W,3\], not"):
        own.read(source, videos=tmp_path / "videos")
    features = json.loads((source / "features.json").read_text())
    features["featuresDict"]["features"]["video"] = VIDEO
    (source / "features.json").write_text(json.dumps(features))
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(
        UserError, match=r"1\.0\.0: TFDS cannot open .* \(.*tensorflow.*pip install tensorflow$"
    ):
        own.read(source)
    (source / "features.json").write_text("{}")
    with pytest.raises(UserError, match=r"1\.0\.0: cannot be read as a data set of TFDS in array_"):
        own.read(source)
