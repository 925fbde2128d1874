"""One's own data: tables of videos with captions, questions or labels, prepared and opened."""

import json
import pathlib

import clips
import pytest

import tokmerge_jax
from tokmerge_jax import data
from tokmerge_jax.config import tds_clip, umt
from tokmerge_jax.data.datasets import own
from tokmerge_jax.data.datasets.locating import Videos
from tokmerge_jax.data.datasets.prepare import prepare_own
from tokmerge_jax.data.datasets.video_text import Action, Clip, Question, Record
from tokmerge_jax.types import UserError


def table(folder, name, content):
    """Writes a table: text, or rows as JSON lines or as Parquet."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.Table.from_pylist(content), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in content))
    else:
        path.write_text(content)
    return path


def records(tables, split="test"):
    return tables.records(split, Videos(pathlib.Path("v")), tables.names())


def clip(name):
    return (Clip(name, f"v/{name}"),)


CAPTIONS = [
    {"video": "b.mp4", "caption": "a dog", "split": "test"},
    {"video": "a.mp4", "caption": "a cat", "split": "train"},
    {"video": "c.mp4", "caption": "a man, running", "split": "validation"},
    {"video": "b.mp4", "caption": "it barks", "split": "test"},
]
CSV = "video,caption,split\n" + "".join(
    f'{row["video"]},"{row["caption"]}",{row["split"]}\n' for row in CAPTIONS
)


@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", CSV), ("a.jsonl", CAPTIONS), ("a.parquet", CAPTIONS)]
)
def test_each_format_gives_a_video_with_its_captions(tmp_path, name, content):
    tables = own.read(table(tmp_path, name, content))
    assert (tables.kind, [*tables.rows]) == ("captions", ["test", "train", "val"])
    assert records(tables) == [Record(clip("b.mp4"), ("a dog", "it barks"))]
    assert records(tables, "val") == [Record(clip("c.mp4"), ("a man, running",))]


@pytest.mark.parametrize("kind", ["", "captions"])
def test_captions_may_have_a_name_of_mteb_unless_another_kind_fits(tmp_path, kind):
    path = table(tmp_path, "a.csv", "video,sentence,summary\na.mp4,a dog,no\n")
    tables = own.read(path, kind)
    assert (tables.kind, records(tables)) == ("captions", [Record(clip("a.mp4"), ("a dog",))])
    path = table(tmp_path, "b.csv", "video,caption,sentence\na.mp4,a cat,no\n")
    assert records(own.read(path, kind)) == [Record(clip("a.mp4"), ("a cat",))]
    path = table(tmp_path, "c.csv", "video,description,label\na.mp4,a man,run\n")
    tables = own.read(path, kind)
    assert tables.kind == (kind or "actions")
    assert tables.rows["test" if kind else "val"][0].texts == ((("a man" if kind else "run"),),)


def test_answers_of_several_people_are_one_question(tmp_path):
    rows = [
        {"video": "a.mp4", "question": "who?", "answer": ["man", "boy", "man"]},
        {"video": "b.mp4", "question": "who?", "answer": 2},
        {"video": "a.mp4", "question": "who?", "answer": "he"},
    ]
    tables = own.read(table(tmp_path, "a.jsonl", rows))
    assert tables.kind == "questions"
    assert records(tables) == [
        Question(clip("a.mp4"), "0", "who?", ("man", "boy", "man", "he")),
        Question(clip("b.mp4"), "1", "who?", ("2",)),
    ]
    assert tables.names() == ("2", "boy", "he", "man")
    assert tables.names(["man", "us"]) == ("man", "us", "2", "boy", "he")


@pytest.mark.parametrize(
    ("labels", "known", "names", "numbers"),
    [
        (["run", "eat", "run"], [], ("eat", "run"), [1, 0, 1]),
        (["run", "eat", "run"], ["run", "sit"], ("run", "sit", "eat"), [0, 2, 0]),
        (["2", "00", "2"], [], ("0", "1", "2"), [2, 0, 2]),
        (["000002", "1"], [], ("0", "1", "2"), [2, 1]),
        (["2", "0", "2"], ["0", "1", "2", "3"], ("0", "1", "2", "3"), [2, 0, 2]),
        (["2", "x", "2"], [], ("2", "x"), [0, 1, 0]),
    ],
)
def test_labels_are_names_in_order_or_the_numbers_themselves(
    tmp_path, labels, known, names, numbers
):
    rows = "".join(f"{i}.mp4,{label}\n" for i, label in enumerate(labels))
    tables = own.read(table(tmp_path, "a.csv", f"video,label\n{rows}"))
    assert (tables.kind, [*tables.rows]) == ("actions", ["val"])
    assert tables.names(known) == names
    records = tables.records("val", Videos(pathlib.Path("v")), names)
    assert records == [Action(clip(f"{i}.mp4"), number, 0) for i, number in enumerate(numbers)]


@pytest.mark.parametrize(
    ("name", "wanted", "split"),
    [
        ("captions.csv", "", "test"),
        ("train.csv", "", "train"),
        ("my-val_2.csv", "", "val"),
        ("train-and-test.csv", "", "test"),
        ("captions.csv", "train", "train"),
    ],
)
def test_rows_without_a_split_are_of_the_files_or_of_the_wanted_one(tmp_path, name, wanted, split):
    path = table(tmp_path, name, "video,caption\na.mp4,a dog\n")
    assert [*own.read(path, split=wanted).rows] == [split]


def test_a_folder_of_videos_with_metadata(tmp_path):
    """The layout "VideoFolder": a table for each split, whose names start from its own folder."""
    table(tmp_path, "train/metadata.csv", "file_name,caption\na.mp4,a cat\n")
    rows = [{"file_name": "sub/b.mp4", "caption": ["a dog", "it barks"]}]
    table(tmp_path, "test/metadata.jsonl", rows)
    table(tmp_path, "other.csv", "no,table\n1,2\n")
    tables = own.read(tmp_path)
    assert records(tables, "train") == [Record(clip("train/a.mp4"), ("a cat",))]
    assert records(tables) == [Record(clip("test/sub/b.mp4"), ("a dog", "it barks"))]


def test_a_folder_of_parts_named_after_their_splits(tmp_path):
    for i, row in enumerate(CAPTIONS[:2]):
        rows = [{"video": row["video"], "caption": row["caption"]}]
        table(tmp_path, f"data/train-{i:05d}-of-00002.parquet", rows)
    tables = own.read(tmp_path)
    assert [row.video for row in tables.rows["train"]] == ["b.mp4", "a.mp4"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("video,text\na,b\n", r"a\.csv: has no caption, question .* \(its columns: video, text\)$"),
        ("name,caption\na,b\n", r"line 2: column 'video' is missing; there are 'name', 'caption'$"),
        ("video,caption,label\na,b,c\n", r"has more than one of caption, .* by format"),
        ("video,caption,video\na,b,c\n", r"a\.csv: two columns have the same name"),
        ("video,caption\n", r"a\.csv: holds no row$"),
        ("", r"a\.csv: is empty$"),
        ("video,caption\na,b\n\nc, \n", r"line 4, column 'caption': is empty$"),
        ("video,caption\na,b\nc\n", r"line 3, column 'caption': is empty$"),
        ("video,caption,split\na,b,tset\n", r"line 2: split 'tset' must be train, val or test$"),
        ("video,caption\na,b\nc,d\na,b\n", r"line 4: .* 'a' has this caption .*, line 2; remove"),
        ("video,label\na,b\na,c\n", r"line 3: video 'a' has a label already, in .*, line 2;"),
        ("video,question,answer\na,b,c\na,b,c\n", r"line 3: .* has this answer already"),
        ("video,caption\na,b,c\n", r"line 2: expected 2 fields, .* into double quotes$"),
    ],
)
def test_a_wrong_table_is_one_sentence(tmp_path, content, message):
    path = table(tmp_path, "a.csv", content)
    with pytest.raises(UserError, match=message) as error:
        own.read(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"video": "a", "caption": 3.5}, "column 'caption': must be a text, not 3.5"),
        ({"video": "a", "caption": []}, "column 'caption': is empty"),
        ({"video": ["a", "b"], "caption": "c"}, "column 'video': must be a text, not"),
        ({"video": "a", "label": ["c"]}, "column 'label': must be a text, not"),
        ({"video": "a", "caption": "c", "split": ["test"]}, r"split \['test'\] must be train"),
        ({"video": "a", "caption": "c", "split": None}, "split None must be train"),
    ],
)
def test_a_wrong_row_of_json_is_one_sentence(tmp_path, row, message):
    with pytest.raises(UserError, match=rf"a\.jsonl, line 1.*{message}"):
        own.read(table(tmp_path, "a.jsonl", [row]))


def test_wrong_files_splits_and_numbers_are_named(tmp_path):
    with pytest.raises(UserError, match=r"none: no such table or folder of tables \(\.csv, "):
        own.read(tmp_path / "none")
    with pytest.raises(UserError, match=r"a\.txt: must be one of \.csv, \.jsonl, \.parquet$"):
        own.read(table(tmp_path, "a.txt", CSV))
    path = table(tmp_path, "a.csv", "video,label\na,1234567\n")
    with pytest.raises(UserError, match=r"label '1234567' is too large; .* count from 0"):
        own.read(path).names()
    with pytest.raises(UserError, match=r"splits=train: .* has the splits val$"):
        prepare_own(path, tmp_path, str(tmp_path), ["train", "val"], 0)
    with pytest.raises(UserError, match="splits=tset: must be train, val or test"):
        prepare_own(path, tmp_path, str(tmp_path), ["tset"], 0)
    path.write_bytes("video,caption\na,b\n".encode("utf-16"))
    with pytest.raises(UserError, match=r"a\.csv: cannot be read as UTF-8 text"):
        own.read(path)
    pytest.importorskip("pyarrow")
    table(tmp_path, "a.parquet", CAPTIONS).write_bytes(b"no")
    with pytest.raises(UserError, match=r"a\.parquet: cannot be read as Parquet"):
        own.read(tmp_path / "a.parquet")


def test_a_video_in_two_splits_is_reported(tmp_path, capsys):
    own.read(table(tmp_path, "a.csv", "video,caption,split\na,b,train\na,b,test\nc,d,test\n"))
    assert capsys.readouterr().err == "videos in more than one split: 1, such as 'a'\n"


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for i, name in enumerate(("a", "b", "c")):
        clips.write(folder / f"{name}.mp4", clips.draw(14, 32, 48, seed=i))
    return folder


def prepare(tmp_path, videos, path, format=""):
    return prepare_own(path, videos, str(tmp_path / "data"), (), workers=0, format=format)


def test_captions_are_opened_for_evaluation_and_training(tmp_path, videos):
    content = CSV + "gone.mp4,nothing,test\n"
    reports = prepare(tmp_path, videos, table(tmp_path, "a.csv", content))
    assert [(r.split, r.texts, r.usable, [*r.missing]) for r in reports] == [
        ("train", 1, 1, []),
        ("val", 1, 1, []),
        ("test", 3, 1, ["gone.mp4"]),
    ]
    place = {"dataset": "custom", "folder": str(tmp_path / "data"), "workers": 0}
    config = umt.TextData().override(place)
    with pytest.raises(UserError, match=r"1 videos of custom cannot be used \(gone\.mp4: missing"):
        data.open_retrieval(config, 4)
    gallery = data.open_retrieval(config.override({"on_broken": "skip"}), 4).gallery
    assert (gallery.videos, gallery.texts) == (("b.mp4",), ("a dog", "it barks"))
    assert gallery.relevant == ((0,), (0,))
    config = config.override({"on_broken": "skip", "paragraph": True})
    assert data.open_retrieval(config, 4).gallery.texts == ("a dog it barks",)
    assert len(data.open_training(config, 4)) == 1


def test_labels_of_splits_that_come_one_by_one_keep_their_numbers(tmp_path, videos):
    prepare(tmp_path, videos, table(tmp_path, "train.csv", "video,label\na,run\nb,sit\n"))
    prepare(tmp_path, videos, table(tmp_path, "val.csv", "video,label\nc,eat\nb,sit\n"))
    place = {"dataset": "custom", "folder": str(tmp_path / "data"), "workers": 0}
    config = tds_clip.ActionData(neighbours=1).override(place)
    gallery = data.open_actions(config, 4).gallery
    assert (gallery.names, gallery.labels) == (("run", "sit", "eat"), (2, 1))
    labels = table(tmp_path, "names.csv", "id,name\n0,Run\n1,Sit\n2,Eat\n3,Fly\n")
    named = data.open_actions(config.override({"labels": str(labels)}), 4).gallery
    assert named.names == ("Run", "Sit", "Eat", "Fly")  # a model may know more actions


def test_data_of_another_kind_is_not_overwritten(tmp_path, videos):
    rows = "video,question,answer\na,who?,man\nb,who?,dog\n"
    prepare(tmp_path, videos, table(tmp_path, "q.csv", rows))
    place = {"dataset": "custom", "folder": str(tmp_path / "data"), "workers": 0}
    asked = data.open_questions(umt.QuestionData().override(place), 4).gallery
    assert (asked.texts, asked.answers) == (("who?", "who?"), ("dog", "man"))
    with pytest.raises(UserError, match="custom there holds questions; put captions into another"):
        prepare(tmp_path, videos, table(tmp_path, "a.csv", CSV))
    with pytest.raises(UserError, match="holds questions, but captions are needed"):
        data.open_retrieval(umt.TextData().override(place), 4)
    with pytest.raises(UserError, match=r"split val, is not prepared in .*, which holds test "):
        data.open_questions(umt.QuestionData().override({**place, "split": "val"}), 4)


def test_what_is_missing_is_named(tmp_path, videos):
    place = {"dataset": "custom", "folder": str(tmp_path / "none")}
    with pytest.raises(UserError, match=r"with: tokmerge prepare .* --captions FILE --videos DIR"):
        data.open_retrieval(umt.TextData().override(place), 4)
    path = table(tmp_path, "a.csv", CSV)
    with pytest.raises(UserError, match=r"needs videos, the folder that names start from$"):
        tokmerge_jax.prepare("custom", annotations=path)
    table(tmp_path, "set/metadata.csv", "file_name,caption\n")
    with pytest.raises(UserError, match=r"metadata\.csv: holds no row$"):  # its videos are there
        tokmerge_jax.prepare("custom", annotations=tmp_path / "set")
    with pytest.raises(UserError, match="format=umt: custom has the formats captions, questions"):
        prepare(tmp_path, videos, path, format="umt")
