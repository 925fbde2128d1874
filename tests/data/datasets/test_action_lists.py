"""Lists of actions and tables of their names: records, faults, and the way through `prepare`."""

import json

import golden
import numpy as np
import pytest
from annotation_files import videos, write
from PIL import Image

from tokmerge_jax.config.common import ActionData
from tokmerge_jax.data.datasets import action_lists, galleries, prepared, specs, video_text
from tokmerge_jax.data.datasets.prepare import prepare
from tokmerge_jax.data.datasets.video_text import Action, Clip
from tokmerge_jax.types import Actions, UserError

RNG = np.random.default_rng(0)
MIRROR = golden.load("tdsclip-preprocess").arrays["flip_labels_i"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "videos").mkdir()
    return tmp_path


def read(folder, text, classes=174):
    write(folder, {"list.txt": text})
    return action_lists.read_list(folder / "list.txt", folder / "videos", classes)


def action(folder, name, path, label, frames=0):
    return Action((Clip(name, str(folder / "videos" / path)),), label, frames)


def test_video_files(folder):
    assert read(folder, "val/abc.mp4 17\r\n\nplaying a harp/b 3.mp4 0\n") == (
        action(folder, "val/abc.mp4", "val/abc.mp4", 17),
        action(folder, "playing a harp/b 3.mp4", "playing a harp/b 3.mp4", 0),
    )


@pytest.mark.parametrize(
    ("first", "name"), [("00001.jpg", "{:05d}.jpg"), ("im_001.png", "im_{:03d}.png")]
)
def test_folders_are_named_as_the_first_one_that_is_there(folder, first, name):
    videos(folder, f"20/{first}")
    assert read(folder, "10 37 81\n20 1 173") == (
        action(folder, "10", f"10/{name}", 81, 37),
        action(folder, "20", f"20/{name}", 173, 1),
    )


def test_none_of_the_first_folders_is_there(folder, monkeypatch):
    videos(folder, "20/00001.jpg", "30/notes.txt")
    with pytest.raises(UserError, match=r"videos=.*videos holds none of .*the first is '10'\);"):
        read(folder, "10 37 81\n30 37 81")
    monkeypatch.setattr(action_lists, "_TRIED", 1)
    with pytest.raises(UserError, match=r"the first is '10'\); name the folder that"):
        read(folder, "10 37 81\n20 1 173")


def test_fields_are_apart_by_any_blanks(folder):
    videos(folder, "a b/00001.jpg")
    expected = action(folder, "a b", "a b/{:05d}.jpg", 81, 1)
    for line in ("a b  1   81 ", "a b\t1\t81", "a b \t 1 \t81\r"):
        assert read(folder, line) == (expected,)
    for line in ("c d.mp4  7", "c d.mp4\t7", "c d.mp4 \t 7"):
        assert read(folder, line) == (action(folder, "c d.mp4", "c d.mp4", 7),)


def test_fields_are_apart_by_commas_too(folder):
    """As in UMT's lists of Kinetics; a name may hold commas, in lists of both kinds."""
    videos(folder, "a, b/00001.jpg")
    for line in ("a, b,1,81", "a, b , 1, 81", "a, b 1 81"):
        assert read(folder, line) == (action(folder, "a, b", "a, b/{:05d}.jpg", 81, 1),)
    for line in ("c, d.mp4,7", "c, d.mp4, 7", "c, d.mp4 7"):
        assert read(folder, line) == (action(folder, "c, d.mp4", "c, d.mp4", 7),)
    read_together = read(folder, "c d.mp4,7\ne,1.mp4 8\n")
    assert read_together == (
        action(folder, "c d.mp4", "c d.mp4", 7),
        action(folder, "e,1.mp4", "e,1.mp4", 8),
    )


def test_files_with_numbers_of_frames(folder):
    videos(folder, "b.mp4")
    expected = [action(folder, f"{n}.mp4", f"{n}.mp4", k, 9 + k) for k, n in enumerate("ab")]
    assert read(folder, "a.mp4 9 0\nb.mp4 10 1\n") == tuple(expected)


def test_frames_beside_other_pictures(folder):
    videos(folder, "a/flow_x_00001.jpg", "a/img_00001.jpg", "b/x1.png", "b/y1.png")
    assert read(folder, "a 1 0") == (action(folder, "a", "a/img_{:05d}.jpg", 0, 1),)
    with pytest.raises(UserError, match=r"videos/b: holds pictures of several kinds, x1\.png and"):
        read(folder, "b 1 0\na 1 0")


def test_other_numbers_of_frames_are_reported(folder, capsys):
    videos(folder, *(f"{name}/{i:05d}.jpg" for name in ("a", "b", "c") for i in (1, 2, 3)))
    read(folder, "a 3 0\nb 3 0\ngone 7 0")
    assert "than listed" not in capsys.readouterr().err
    records = read(folder, "a 3 0\nb 4 0\nc 2 0")
    assert capsys.readouterr().err.endswith(
        f"\n{folder}/list.txt: 2 of 3 folders hold other numbers of frames than listed, such as b"
        " (3, not 4); the folders' numbers are used\n"
    )
    assert [record.frames for record in records] == [3, 4, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 3 0\n\nb 4", r"list\.txt, line 3: must be 'folder frames label', separated .* 'b 4'"),
        ("a.mp4 3\nb.mp4", r"list\.txt, line 2: must be 'video label'"),
        ("a.mp4;3", r"list\.txt, line 1: must be 'video label', separated by blanks or commas"),
        ("a.mp4,3\nb.mp4,4,", r"list\.txt, line 2: must be 'video label', .*, not 'b\.mp4,4,'"),
        ("a,3,0\nb.mp4,4", r"list\.txt, line 2: must be 'folder frames label'"),
        ("a.mp4 3\nb.mp4 174", r"list\.txt, line 2: label 174 must be below 174"),
        (" \n", r"list\.txt: is empty"),
        (b"\xff\xfe", r"list\.txt: cannot be read as UTF-8 text"),
    ],
)
def test_faults(folder, text, message):
    with pytest.raises(UserError, match=message) as fault:
        read(folder, text)
    assert str(fault.value).startswith(str(folder))


def test_labels_in_a_mirror():
    every = [Action((Clip("a", "a"),), label, 0) for label in range(174)]
    for dataset, expected in (("ssv1", MIRROR), ("ssv2", MIRROR), ("k400", np.arange(174))):
        rows = galleries.action_rows(every, mirror=specs.SPECS[dataset].mirror)
        assert [row.label for row in rows] == list(range(174))
        assert [row.mirrored for row in rows] == expected.tolist()


def test_rows_follow_what_their_frames_show():
    rows = [galleries.ActionRow("a", 86, 87), galleries.Row("b", "to the left", 3)]
    shown = np.arange(6)
    for flip in (False, True):
        row, frames = galleries.augmented(rows[0], lambda x, _: (x[::-1], flip), shown, RNG)  # noqa: B023
        assert row == galleries.ActionRow("a", *((87, 86) if flip else (86, 87)))
        assert frames.tolist() == shown.tolist()[::-1]
    assert galleries.augmented(rows[1], lambda x, _: x[:2], shown, RNG)[0] is rows[1]


def test_each_record_is_a_video_to_tell():
    records = [Action((Clip(name, f"/{name}"),), label, 0) for name, label in (("b", 1), ("a", 0))]
    gallery, paths = galleries.actions(records, ("x", "y"))
    assert gallery == Actions(("b", "a"), (1, 0), ("x", "y"))
    assert paths == ("/b", "/a")


NAMES = 'id,name\n1,to the left\n0,up \n2,"so, down"\n'


def test_names_in_the_order_of_their_numbers(folder):
    write(folder, {"names.csv": NAMES})
    assert action_lists.read_names(folder / "names.csv", 3) == ("up", "to the left", "so, down")
    write(folder, {"twice.csv": "id,name\n0,up\n1,down\n2,up \n"})  # as sth_labels_me.csv has them
    assert action_lists.read_names(folder / "twice.csv", 3) == ("up (0)", "down", "up (2)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (NAMES, r"names\.csv: must name the actions 0 to 1, each once"),
        ("id,name\n0,up\n0,down\n", r"must name the actions 0 to 1, each once"),
        ("id,name\n1,up\n2,down\n", r"must name the actions 0 to 1, each once"),
        ("id,label\n0,up\n1,down\n", r"names\.csv: column 'name' is missing"),
        ("id,name\n0,up\n1,\n", r"names\.csv, line 3: column 'name' is empty"),
    ],
)
def test_faults_of_names(folder, text, message):
    write(folder, {"names.csv": text})
    with pytest.raises(UserError, match=message) as fault:
        action_lists.read_names(folder / "names.csv", 2)
    assert str(fault.value).startswith(str(folder))


def test_names_that_fit_are_found_beside_the_lists_or_one_folder_up(folder, capsys):
    lists = folder / "lists"
    lists.mkdir()
    assert action_lists.find_names(lists, 2) == ()
    write(folder, {"other.csv": NAMES, "table.csv": "no table", "up.csv": "id,name\n0,a\n1,b\n"})
    write(folder, {"same.csv": "id,name\n1,b\n0,a\n", "short.csv": "id,name\n1,x\n"})
    assert action_lists.find_names(lists, 2) == ("a", "b")
    write(lists, {"here.csv": "id,name\n0,c\n1,d\n"})
    assert action_lists.find_names(lists, 2) == ("c", "d")
    assert capsys.readouterr().err == ""
    write(lists, {"more.csv": "id,name\n0,e\n1,f\n"})
    assert action_lists.find_names(lists, 2) == ()
    assert capsys.readouterr().err == (
        f"{lists}: holds here.csv, but also more.csv, which name the actions differently: ignored\n"
    )


def test_tables_that_do_not_fit_are_told(folder, capsys):
    write(folder, {"other.csv": NAMES, "table.csv": "label,name\n0,a\n"})
    assert action_lists.find_names(folder, 2) == ()
    assert capsys.readouterr().err == (
        f"{folder}/other.csv: must name the actions 0 to 1, each once: ignored\n"
        f"{folder}/table.csv: column 'id' is missing: ignored\n"
    )


def test_training_leaves_out_what_is_listed_as_short(folder):
    videos(folder, "a/00001.jpg")
    records = read(folder, "a 7 0\nb 8 1\nc 9 2")
    rows = galleries.action_rows(records, fewest=8)
    assert [row.label for row in rows] == [1, 2]
    assert rows[0].path.endswith("b/{:05d}.jpg")
    assert len(galleries.action_rows(records)) == 3
    assert len(galleries.action_rows(read(folder, "a.mp4 0"), fewest=8)) == 1


# Through `prepare`.


@pytest.fixture
def ran(folder):
    """Prepares splits in this process; their reports."""

    def ran(dataset, splits, source=folder, format=""):
        return prepare(
            dataset, source, folder / "videos", str(folder / "data"), splits, 0, format=format
        )

    return ran


def frames(folder, *names):
    for name in names:
        (folder / "videos" / name).mkdir()
        for number in (1, 2):
            pixels = np.full((4, 6, 3), 9 * number, np.uint8)
            Image.fromarray(pixels).save(folder / "videos" / name / f"{number:05d}.jpg")


def test_folders_of_frames_are_prepared(folder, ran, monkeypatch):
    monkeypatch.setattr(video_text, "_AT_ONCE", 2)  # records are read in parts
    frames(folder, "a", "b")
    (folder / "videos" / "b" / "00002.jpg").write_bytes(b"")
    write(folder, {"train.txt": "a 2 5\n", "val.txt": "b 2 6\na 2 5\ngone 2 7\n"})
    train, val = ran("ssv1", ["train", "val"])
    assert (train.videos, train.usable, train.texts) == (1, 1, 1)
    assert (val.videos, val.usable, val.missing) == (3, 1, ["gone"])
    assert val.texts == 3  # actions that are shown
    assert "00002.jpg: cannot be decoded" in val.undecodable["b"]
    stored = video_text.read(str(folder / "data"), "ssv1", "val")
    assert [(r.label, r.frames) for r in stored if isinstance(r, Action)] == [
        (6, 2),
        (5, 2),
        (7, 2),
    ]
    usable, broken = galleries.without_broken(stored)
    assert [clip.name for clip in broken] == ["b", "gone"]
    assert usable == [action(folder, "a", "a/{:05d}.jpg", 5, 2)]


def test_a_list_of_any_name(folder, ran):
    write(folder, {"kinetics_val.txt": "a.mp4 399\n", "val.csv": "a.mp4,399\n"})
    (report,) = ran("k400", ["val"], folder / "val.csv")
    assert report.missing == ["a.mp4"]
    (report,) = ran("k400", ["val"], folder / "kinetics_val.txt")
    assert report.missing == ["a.mp4"]
    with pytest.raises(UserError, match=r"kinetics_val\.txt: one file holds one split"):
        ran("k400", ["val", "train"], folder / "kinetics_val.txt")
    with pytest.raises(UserError, match=r"no such annotation files \(split val\): val\*\.txt"):
        ran("k400", ["val"])
    with pytest.raises(UserError, match="format=umt: k400, split val, has no such format"):
        ran("k400", ["val"], folder / "kinetics_val.txt", "umt")
    with pytest.raises(UserError, match="format=lists: msrvtt, split test, has no such format"):
        ran("msrvtt", ["test"], folder / "kinetics_val.txt", "lists")


def test_a_list_is_found_by_the_beginning_of_its_name(folder, ran, capsys):
    frames(folder, "a", "c")
    write(folder, {"train_rgb.txt": "a 2 1\n", "val_rgb_opencv.txt": "b 9 0\nc 2 0\n"})
    train, val = ran("ssv1", ["train", "val"])
    assert (train.missing, val.missing, val.texts) == ([], ["b"], 1)
    error = capsys.readouterr().err
    assert "split val: all 2 videos have action 0; if this only stands for hidden labels" in error
    assert "split train" not in error  # of one video
    assert val.annotations == f"{folder}/val_rgb_opencv.txt"
    write(folder, {"val_rgb_ffmpeg.txt": "b 9 0\n"})
    with pytest.raises(UserError, match=r"holds val_rgb_ffmpeg\.txt, but also val_rgb_opencv\.txt"):
        ran("ssv1", ["val"])


def test_names_are_kept_with_the_data_set(folder, ran, capsys):
    config = ActionData(folder=str(folder / "data"), dataset="ssv2")
    write(folder, {"val.txt": "a.mp4 3\n"})
    ran("ssv2", ["val"])
    assert (
        f"{folder}: no usable CSV of the actions' names (id,name) there" in capsys.readouterr().err
    )
    assert prepared.labels(config) == tuple(map(str, range(174)))
    rows = [f"{number},action {number}" for number in reversed(range(174))]
    write(folder, {"sth_labels.csv": "\n".join(["id,name", *rows])})
    ran("ssv2", ["val"], folder / "val.txt")
    assert capsys.readouterr().err.count("CSV") == 0
    assert prepared.labels(config) == tuple(f"action {number}" for number in range(174))
    (folder / "sth_labels.csv").rename(folder / "gone")
    ran("ssv2", ["val"])  # what is known stays known
    assert prepared.labels(config)[173] == "action 173"
    config = config.override({"labels": str(folder / "names.csv")})
    with pytest.raises(UserError, match=r"names\.csv: cannot be read"):
        prepared.labels(config)
    write(folder, {"names.csv": "\n".join(["id,name", *rows]).replace("action", "doing")})
    assert prepared.labels(config)[0] == "doing 0"
    stored = json.loads(video_text.labels_path(config.folder, "ssv2").read_text())
    assert stored[0] == "action 0"
    config = config.override({"dataset": "demo_actions"})
    with pytest.raises(
        UserError, match=r"_labels\.json: no such names .*; prepare demo_actions ag"
    ):
        prepared.labels(config)


def test_the_data_sets():
    of_actions = {name for name, spec in specs.SPECS.items() if spec.kind == "actions"}
    assert of_actions - specs.DRAWN.keys() == {"k400", "ssv1", "ssv2"}
    assert specs.splits("ssv2") == ("train", "val", "test")
    assert video_text.KINDS["actions"] is Action
