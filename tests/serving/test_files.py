"""What can be read through the server, and what cannot."""

import os

import numpy as np
import pytest

from tokmerge_jax.own_videos import contents
from tokmerge_jax.own_videos.index import Index
from tokmerge_jax.own_videos.windows import Window
from tokmerge_jax.serving import catalogue, files
from tokmerge_jax.serving.catalogue import Catalogue, identify
from tokmerge_jax.serving.files import MissingError, located, opened

SECRET = "secret"


@pytest.fixture
def folder(tmp_path):
    """An indexed folder beside a file that is not for others."""
    (tmp_path / "videos" / "in").mkdir(parents=True)
    (tmp_path / "videos-of-others").mkdir()
    for place in ("secret.mp4", "videos-of-others/x.mp4"):
        (tmp_path / place).write_text(SECRET)
    (tmp_path / "videos/in/a.mp4").write_text("mine")
    return tmp_path / "videos"


def test_files_and_links_inside_are_read(folder):
    (folder / "link.mp4").symlink_to("in/a.mp4")
    (folder / "folder").symlink_to("in")
    for path in ("in/a.mp4", "link.mp4", "folder/a.mp4", "in/../in/a.mp4"):
        file, state = located(folder, path)
        assert (file.read_text(), state.st_size) == ("mine", 4)


def test_the_indexed_folder_may_be_a_link(folder):
    (folder.parent / "other").symlink_to(folder)
    assert located(folder.parent / "other", "in/a.mp4")[0] == (folder / "in/a.mp4").resolve()


@pytest.mark.parametrize(
    "path",
    [
        "../secret.mp4", "in/../../secret.mp4", "/etc/passwd", "../videos-of-others/x.mp4", "", ".",
        "in", "none.mp4", "in/a.mp4/x", "in/a.mp4\0", "x" * 300, "..%2fsecret.mp4",
        "leaves.mp4", "leaving/secret.mp4", "loop", "pipe", "closed.mp4",
    ],
)  # fmt: skip
def test_nothing_else_is_read(folder, path, monkeypatch):
    (folder / "leaves.mp4").symlink_to("../secret.mp4")
    (folder / "leaving").symlink_to("..")
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")
    monkeypatch.setattr(os, "access", lambda file, _: file.name != "closed.mp4")  # as for others
    (folder / "closed.mp4").touch()
    with pytest.raises(MissingError, match="gone, or lies outside the indexed folder"):
        located(folder, path)


def pipe(_, place):
    os.mkfifo(place)


@pytest.mark.parametrize(
    ("replaced", "by"),
    [("in/a.mp4", os.symlink), ("in", os.symlink), ("in/a.mp4", pipe)],
)
def test_what_takes_a_place_after_the_check_is_not_read(folder, replaced, by, monkeypatch):
    others = folder.parent / "videos-of-others"
    (others / "a.mp4").write_text(SECRET)
    with opened(folder, "in/a.mp4") as file:
        assert file.read() == b"mine"

    def then_replaced(*given):
        checked = located(*given)
        (folder / replaced).rename(folder.parent / "before")
        target = others if replaced == "in" else others / "a.mp4"
        by(target, folder / replaced)
        return checked

    monkeypatch.setattr(files, "located", then_replaced)
    with pytest.raises(MissingError):
        opened(folder, "in/a.mp4")


def test_ids_stand_for_rows_of_the_table_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "_FRESH", 0)
    monkeypatch.setattr(catalogue, "_SHARE", np.inf)
    index = Index(tmp_path, {}, {"embedding": (1, 2)})
    held = Catalogue(tmp_path)
    assert (held.reading().videos, held.reading().folders) == (0, ())
    name = identify("2024/june/a.mp4")
    assert held.path(name) is None
    stamps = {"2024/june/a.mp4": (1, 1)}
    window = Window("2024/june/a.mp4", 0.0, 1.0, 1.0, 8, True)
    index.add([window], stamps, {"embedding": np.ones((1, 1, 2), np.float32)})
    assert held.path(name) == "2024/june/a.mp4"
    assert held.reading().folders == ("2024", "2024/june")
    assert held.reading() is held.reading()  # nothing has changed
    index.update({})
    assert held.reading().videos == 0
    assert held.path(name) is None
    for odd in ("", "..", "a.mp4", "2024/june/a.mp4", "\0", "é"):
        assert held.path(odd) is None


def test_an_index_is_read_when_it_is_asked_for(tmp_path, monkeypatch):
    """Neither at the start, nor for videos of hits; IDs of others are made once."""
    read, made = [], []
    monkeypatch.setattr(catalogue, "_FRESH", 0)
    monkeypatch.setattr(catalogue, "_SHARE", np.inf)
    reading, identified = contents.read, catalogue.identify
    monkeypatch.setattr(contents, "read", lambda place: read.append(place) or reading(place))
    monkeypatch.setattr(catalogue, "identify", lambda path: made.append(path) or identified(path))
    index = Index(tmp_path, {}, {"embedding": (1, 2)})
    names = ["a.mp4", "b.mp4"]
    windows = [Window(name, 0.0, 1.0, 1.0, 8, True) for name in names]
    stamps = dict.fromkeys(names, (1, 1))
    index.add(windows, stamps, {"embedding": np.ones((2, 1, 2), np.float32)})
    held = Catalogue(tmp_path)
    assert held.path(held.name("a.mp4")) == "a.mp4"
    assert not read
    assert held.reading().videos == 2
    assert made == ["a.mp4"]
    for _ in range(2):
        assert held.path(identified("b.mp4")) == "b.mp4"
    assert sorted(made) == ["a.mp4", *names]
    assert len(read) == 1
    index.update({"b.mp4": (1, 1)})
    assert held.reading().videos == 1
    assert held.path(identified("a.mp4")) is None
