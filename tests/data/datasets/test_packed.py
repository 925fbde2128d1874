"""Tables that hold the videos themselves: each is written to a file once, inside one folder."""

import os
import pathlib

import clips
import numpy as np
import pytest

from tokmerge_jax import data
from tokmerge_jax.config import umt
from tokmerge_jax.data.datasets import own, packed
from tokmerge_jax.data.datasets.prepare import prepare_own
from tokmerge_jax.types import UserError

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """The bytes of two videos."""
    folder = tmp_path_factory.mktemp("drawn")
    drawn = (clips.draw(14, 32, 48, seed=seed) for seed in range(2))
    return [clips.write(folder / f"{i}.mp4", video).read_bytes() for i, video in enumerate(drawn)]


def table(path, rows):
    parquet.write_table(arrow.Table.from_pylist(rows), path, row_group_size=2)
    return path


def video(content, path=None):
    """A cell as Hugging Face's feature Video stores it."""
    return {"bytes": content, "path": path}


def test_a_table_is_prepared_and_opened(tmp_path, contents):
    """MTEB's columns: the sound and what else is there are not read."""
    rows = [
        {"video": video(content, f"{i}.mp4"), "audio": video(b"no"), "caption": f"clip {i}"}
        for i, content in enumerate(contents)
    ]
    source = table(tmp_path / "test-00000-of-00001.parquet", rows)
    folder = tmp_path / "data"
    (report,) = prepare_own(source, None, str(folder), (), workers=0)
    assert (report.split, report.texts, report.usable) == ("test", 2, 2)
    written = sorted((folder / "custom_videos").iterdir())
    assert [file.read_bytes() for file in written] == contents
    config = umt.TextData().override({"dataset": "custom", "folder": str(folder), "workers": 0})
    opened = data.open_retrieval(config, 4)
    assert opened.gallery.videos == tuple(file.name for file in written)
    assert opened.gallery.texts == ("clip 0", "clip 1")


def test_the_folder_may_be_chosen_and_a_second_run_writes_what_is_missing(tmp_path, contents):
    rows = [{"video": content, "label": i} for i, content in enumerate(contents)]
    source = table(tmp_path / "val.parquet", rows)
    videos = tmp_path / "videos"
    (report,) = prepare_own(source, videos, str(tmp_path / "data"), (), workers=0)
    assert (report.split, report.usable) == ("val", 2)
    first, second = sorted(videos.iterdir())
    assert [first.name.split("-")[0], second.name.split("-")[0]] == ["row0", "row1"]
    os.utime(first, (1, 1))
    second.unlink()
    prepare_own(source, videos, str(tmp_path / "data"), (), workers=0)
    assert (first.stat().st_mtime, second.read_bytes()) == (1, contents[1])


@pytest.mark.parametrize(
    ("path", "begins", "ends"),
    [
        ("../../x.mkv", "x-", ".mkv"),
        ("/etc/cron.d/x.mp4", "x-", ".mp4"),
        ("..\\..\\x.WEBM", "x-", ".WEBM"),
        ("C:\\x.mp4", "x-", ".mp4"),
        ("..", "row7-", ".mp4"),
        ("a/", "row7-", ".mp4"),
        (".hidden", "hidden-", ".mp4"),
        ("a\0\nb c.tar.gz", "a_b_c.tar.gz-", ".mp4"),
        ("é" * 300 + ".mp4", "é" * 50 + "-", ".mp4"),
        (None, "row7-", ".mp4"),
    ],
)
def test_no_path_leads_out_of_the_folder(tmp_path, path, begins, ends):
    name = packed.Files(tmp_path / "videos").name(video(b"content", path), 7, "row 7")
    assert name.startswith(begins)
    assert name.endswith(ends)
    (file,) = (tmp_path / "videos").iterdir()
    assert (file.name, file.read_bytes()) == (name, b"content")
    assert [*tmp_path.iterdir()] == [tmp_path / "videos"]


def test_equal_videos_share_a_file_and_equal_names_do_not(tmp_path):
    files = packed.Files(tmp_path)
    first = files.name(video(b"one", "a.mp4"), 0, "")
    assert files.name(video(b"one", "b.mp4"), 1, "") == first
    assert files.name(b"one", 2, "") == first
    second = files.name(video(b"two", "x/a.mp4"), 3, "")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {
        first: b"one",
        second: b"two",
    }


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ({"bytes": "text"}, "a video must be bytes, not 'text'"),
        (np.zeros((0, 8, 8, 3), np.uint8), r"frames must be .*, not uint8 \(0, 8, 8, 3\)"),
        (np.zeros((2, 8, 8, 4), np.uint8), r"frames must be .*, not uint8 \(2, 8, 8, 4\)"),
        (np.zeros((2, 8, 3), np.uint8), r"frames must be .*, not uint8 \(2, 8, 3\)"),
        (np.zeros((2, 8, 8, 3)), r"frames must be .*, not float64 \(2, 8, 8, 3\)"),
    ],
)
def test_what_is_no_video_is_refused(tmp_path, cell, message):
    with pytest.raises(UserError, match=f"^row 7: {message}$"):
        packed.Files(tmp_path).name(cell, 7, "row 7")
    assert not [*tmp_path.iterdir()]


def test_a_video_that_is_only_named_is_not_written(tmp_path):
    rows = [{"video": video(None, "a.mp4"), "caption": "c"}]
    tables = own.read(table(tmp_path / "a.parquet", rows), videos=tmp_path / "videos")
    assert tables.rows["test"][0].video == "a.mp4"
    assert not (tmp_path / "videos").exists()


def test_a_wrong_table_is_one_sentence(tmp_path):
    source = table(tmp_path / "a.parquet", [{"video": b"x", "audio": b"y", "text": "c"}])
    with pytest.raises(UserError, match=r"has no caption, .* \(its columns: video, audio, text\)$"):
        own.read(source, videos=tmp_path / "videos")
    source = table(tmp_path / "b.parquet", [{"video": video(None), "caption": "c"}])
    with pytest.raises(UserError, match=r"b\.parquet, row 0, column 'video': is empty$"):
        own.read(source, videos=tmp_path / "videos")
    assert not (tmp_path / "videos").exists()
    source = table(tmp_path / "c.parquet", [{"video": b"x", "caption": "c"}])
    pathlib.Path(tmp_path / "videos").write_text("a file")
    with pytest.raises(UserError, match="videos: File exists; name another place"):
        own.read(source, videos=tmp_path / "videos")
