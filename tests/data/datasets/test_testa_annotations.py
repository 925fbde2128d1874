"""TESTA's annotation files: their records, their faults, and how they are told from the others'."""

import json
import pathlib
import pickle

import pytest
from annotation_files import record, usable, videos, write

from tokmerge_jax import data
from tokmerge_jax.config.testa import Data, QuestionData
from tokmerge_jax.data.datasets import specs, testa
from tokmerge_jax.data.datasets.prepare import prepare
from tokmerge_jax.data.datasets.video_text import Clip, Question
from tokmerge_jax.data.video import checking
from tokmerge_jax.types import UserError

PICKLE = "raw_captions_combined_filtered.pkl"
MOVIES = "videoid,title,caption,split\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "videos").mkdir()
    return tmp_path


def read(folder, dataset, split="test"):
    return testa.read(dataset, split, folder, folder / "videos")


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_queryd_s_sentences_lie_as_words(folder, split):
    said = {
        "video-b": [["he", "runs"], ["He", "stops."]],
        "video-x": [["of", "no", "split"]],
        "video-a": [["snow"]],
    }
    write(folder, {f"exists_{split}_list.txt": "video-a\nvideo-b\n", PICKLE: pickle.dumps(said)})
    videos(folder, "1/video-b.mp4", "video-a")  # some downloads have no suffix
    assert read(folder, "queryd", split) == (
        record(folder, "video-a", "video-a", "snow"),
        record(folder, "video-b", "1/video-b.mp4", "he runs", "He stops."),
    )


class Code:
    """Stored as a call of a function, as a pickle that attacks would be."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


def test_pickles_run_no_code(folder):
    stored = pickle.dumps({"video-a": [["x"]], "b": Code(folder / "touched")})
    write(folder, {"exists_test_list.txt": "video-a", PICKLE: stored})
    with pytest.raises(UserError, match=rf"{PICKLE}: cannot be read .* \(it holds STACK_GLOBAL"):
        read(folder, "queryd")
    assert not (folder / "touched").exists()


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_didemo_has_a_record_a_line(folder, split):
    rows = [
        {"clip_name": "1@N00_1_a", "caption": "a dog.\u2028it stops", "other": 1},
        {"clip_name": "2@N00_2.mov", "caption": "a cat"},
        {"clip_name": "3@N00_3.mov", "caption": "snow"},
    ]
    lines = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    write(folder, {f"{split}.jsonl": f"{lines}\n\n"})
    videos(folder, "2@N00_2.mov.mp4", "2@N00_2.mov", "3@N00_3.avi")
    assert read(folder, "didemo", split) == (
        record(folder, "1@N00_1_a", "1@N00_1_a.mp4", "a dog.\u2028it stops"),
        record(folder, "2@N00_2.mov", "2@N00_2.mov.mp4", "a cat"),
        record(folder, "3@N00_3.mov", "3@N00_3.avi", "snow"),
    )


@pytest.mark.parametrize(("split", "file"), [("train", "train.json"), ("test", "val.json")])
def test_activitynet_lies_in_the_first_line(folder, split, file):
    rows = [
        {"video": "v_AbC.mp4", "caption": ["A man opens a door.", " He walks out."]},
        {"video": "v_-d.mp4", "caption": ["Snow."]},
    ]
    write(folder, {file: f"{json.dumps(rows)}\n[a line of notes"})
    videos(folder, "v_AbC.mkv", "-d.webm")
    assert read(folder, "anet", split) == (
        record(folder, "v_AbC.mp4", "v_AbC.mkv", "A man opens a door.", " He walks out."),
        record(folder, "v_-d.mp4", "-d.webm", "Snow."),
    )


def test_condensed_movies_are_split_by_a_column(folder, capsys):
    rows = 'one,T,"He says ""no"", twice",train\ntwo,T,x,val\nthree,T,y,train\n'
    write(folder, {"train_val_challf0.csv": MOVIES + rows})
    write(folder, {"test_challf0.csv": MOVIES + "9,T,z,test"})
    videos(folder, "one.mkv", "2015/three.mkv")
    assert read(folder, "condmov", "train") == (
        record(folder, "one", "one.mkv", 'He says "no", twice'),
        record(folder, "three", "2015/three.mkv", "y"),
    )
    assert read(folder, "condmov", "val") == (record(folder, "two", "two.mp4", "x"),)
    assert capsys.readouterr().err == ""
    assert read(folder, "condmov", "test") == (record(folder, "9", "9.mp4", "z"),)
    assert "test_challf0.csv: the true pairs of captions and videos are not public" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_questions_find_their_answers_by_id(folder, split):
    asked = [
        {"video_name": "AbC", "question": "is he indoors", "question_id": "v_AbC_2"},
        {"video_name": "AbC", "question": "who", "question_id": "v_AbC_1"},
        {"video_name": "-d", "question": "where", "question_id": "v_-d_1"},
    ]
    answered = [
        {"answer": "man", "question_id": "v_AbC_1", "type": 4},
        {"answer": "sea", "question_id": "v_-d_1", "type": 2},
        {"answer": "yes", "question_id": "v_AbC_2", "type": 3},
    ]
    write(folder, {f"{split}_q.json": asked, f"{split}_a.json": answered})
    videos(folder, "v_AbC.webm", "v_AbC.mp4", "v_-d.webm")
    first, second = (
        (Clip("v_AbC", str(folder / "videos/v_AbC.mp4")),),
        (Clip("v_-d", str(folder / "videos/v_-d.webm")),),
    )
    assert read(folder, "anet_qa", split) == (
        Question(first, "v_AbC_2", "is he indoors", ("yes",)),
        Question(first, "v_AbC_1", "who", ("man",)),
        Question(second, "v_-d_1", "where", ("sea",)),
    )


# What is wrong: the data set, its files as they are, the one sentence.
ASKED = [{"video_name": "a", "question": "who", "question_id": "a_1"}]
FAULTS = {
    "no list": ("queryd", {PICKLE: b""}, r"exists_test_list\.txt: cannot be read as UTF-8 text"),
    "nobody described": (
        "queryd",
        {"exists_test_list.txt": "video-a", PICKLE: pickle.dumps({"video-b": [["x"]]})},
        rf"{PICKLE}: has no caption for 'video-a' of exists_test_list\.txt; is it the right",
    ),
    "sentences that are no words": (
        "queryd",
        {"exists_test_list.txt": "video-a", PICKLE: pickle.dumps({"video-a": [["x"], "a cat"]})},
        rf"{PICKLE}, video 'video-a', caption 1: must be a list, not 'a cat'",
    ),
    "no JSON in a line": (
        "didemo",
        {"test.jsonl": '{"clip_name": "a", "caption": "x"}\n{"clip'},
        r"test\.jsonl, line 2: cannot be read as JSON",
    ),
    "line of another type": (
        "didemo",
        {"test.jsonl": '["a"]'},
        r"test\.jsonl, line 1: must be an object, not \['a'\]",
    ),
    "no caption": (
        "didemo",
        {"test.jsonl": '\n{"clip_name": "a"}'},
        r"test\.jsonl, line 2: field 'caption' is missing",
    ),
    "first line cut": ("anet", {"val.json": "[\n1]"}, r"val\.json, line 1: cannot be read as JSON"),
    "first line of another type": (
        "anet",
        {"val.json": {"v_a": 1}},
        r"val\.json, line 1: must be a list, not \{'v_a': 1\}",
    ),
    "no records": ("anet", {"val.json": []}, r"val\.json: names no video \(split test\)"),
    "caption that is no list": (
        "anet",
        {"val.json": [{"video": "a", "caption": "x"}]},
        r"val\.json, record 0, field 'caption': must be a list, not 'x'",
    ),
    "no sentence": (
        "anet",
        {"val.json": [{"video": "a", "caption": []}]},
        r"val\.json, record 0: field 'caption' holds no sentence",
    ),
    "no column": (
        "condmov",
        {"test_challf0.csv": "videoid,caption\na,b\n"},
        r"test_challf0\.csv: column 'split' is missing",
    ),
    "no cell": (
        "condmov",
        {"test_challf0.csv": MOVIES + "a,T,,test\n"},
        r"test_challf0\.csv, line 2: column 'caption' is empty",
    ),
    "no rows of the split": (
        "condmov",
        {"test_challf0.csv": MOVIES + "a,T,x,val\n"},
        r"test_challf0\.csv: names no video \(split test\)",
    ),
    "no answer": (
        "anet_qa",
        {"test_q.json": ASKED, "test_a.json": [{"question_id": "b", "answer": "x"}]},
        r"test_a\.json: has no answer to 'a_1' of test_q\.json",
    ),
    "no question": (
        "anet_qa",
        {
            "test_q.json": [{"video_name": "a", "question_id": "b"}],
            "test_a.json": [{"question_id": "b", "answer": "x"}],
        },
        r"test_q\.json, record 0: field 'question' is missing",
    ),
    "answer of another type": (
        "anet_qa",
        {"test_q.json": ASKED, "test_a.json": [{"question_id": "a_1", "answer": 2}]},
        r"test_a\.json, record 0, field 'answer': must be a text, not 2",
    ),
}


@pytest.mark.parametrize(("dataset", "files", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_faults_are_named(folder, dataset, files, message):
    write(folder, files)
    with pytest.raises(UserError, match=message) as fault:
        read(folder, dataset)
    assert str(fault.value).startswith(str(folder))


def test_splits():
    assert specs.splits("queryd") == ("train", "val", "test")
    assert specs.splits("condmov") == ("train", "val", "test")
    assert specs.splits("anet") == ("train", "test")  # its val is what everybody tests on
    assert specs.splits("demo_qa") == ()
    assert {
        name: len(family.files.get("didemo", {})) for name, family in specs.FAMILIES.items()
    } == {
        "umt": 3,
        "clip4clip": 3,
        "testa": 3,
        "lists": 0,
    }


# Through `prepare`.


@pytest.fixture
def prepared(folder, monkeypatch):
    """Prepares a split of files that are no videos and yet pass; opens it, and its report."""
    monkeypatch.setattr(checking, "_checked", usable)

    def prepared(dataset, split="test", source=folder, format="", **config):
        where, out = folder / "videos", str(folder / "data")
        (report,) = prepare(dataset, source, where, out, [split], 1, format=format)
        kind = specs.SPECS[dataset].kind
        base = Data() if kind == "captions" else QuestionData(answers="")
        place = {"dataset": dataset, "split": split, "folder": out}
        config = base.override({**place, "decode_size": 0, "workers": 0, **config})
        opens = {"captions": data.open_retrieval, "questions": data.open_questions}
        return report, opens[kind](config, 4)

    return prepared


def test_sentences_become_a_paragraph(folder, prepared):
    said = {"video-a": [["He", "runs"], ["He", "stops"]]}
    write(folder, {"exists_test_list.txt": "video-a", PICKLE: pickle.dumps(said)})
    videos(folder, "video-a.mp4")
    report, source = prepared("queryd", paragraph=True)
    assert source.gallery.texts == ("He runs He stops",)
    assert (report.texts, report.videos) == (2, 1)
    assert prepared("queryd")[1].gallery.texts == ("He runs", "He stops")


def test_missing_videos_are_never_left_out_in_silence(folder, prepared):
    write(
        folder, {"test.jsonl": '{"clip_name":"a","caption":"x"}\n{"clip_name":"b","caption":"y"}'}
    )
    videos(folder, "b.mp4")
    with pytest.raises(UserError, match=r"1 videos of didemo cannot be used \(a: missing\)"):
        prepared("didemo")
    report, source = prepared("didemo", on_broken="skip")
    assert (report.missing, source.broken) == (["a"], ("a",))
    assert source.gallery.texts == ("y",)


CLIP4CLIP = {"train_ids.json": ["v_a"], "train.json": {"v_a": {"sentences": ["CLIP4Clip's"]}}}
TESTA = {"train.json": [{"video": "v_a.mp4", "caption": ["TESTA's"]}]}


def test_a_file_that_another_family_needs_beside_more_is_that_family_s(folder, prepared):
    videos(folder, "v_a.mp4")
    write(folder, CLIP4CLIP)
    assert prepared("anet", "train")[1].gallery.texts == ("CLIP4Clip's",)
    write(folder, TESTA)  # beside the list of ids
    with pytest.raises(UserError, match=r"train\.json: must be an object, not \["):
        prepared("anet", "train")
    assert prepared("anet", "train", format="testa")[1].gallery.texts == ("TESTA's",)
    (folder / "train_ids.json").unlink()
    assert prepared("anet", "train")[1].gallery.texts == ("TESTA's",)


def test_three_families_in_a_folder(folder, prepared):
    row = {"video": "a.mp4", "description": "CLIP4Clip's"}
    write(folder, {"test_list.txt": "a", "test_data.json": [row | {"video": "a"}]})
    write(folder, {"test.jsonl": '{"clip_name": "a", "caption": "TESTA\'s"}'})
    write(folder, {"didemo_ret_test.json": [{"video": "a.mp4", "caption": "UMT's"}]})
    videos(folder, "a.mp4")
    message = (
        r"holds didemo_ret_test\.json, but also test_list\.txt and test_data\.json, but also"
        r" test\.jsonl \(split test\); choose one by format"
    )
    with pytest.raises(UserError, match=message):
        prepared("didemo")
    for family, title in (("umt", "UMT's"), ("clip4clip", "CLIP4Clip's"), ("testa", "TESTA's")):
        assert prepared("didemo", format=family)[1].gallery.texts == (title,)


def test_files_that_are_missing_are_named_in_every_form(prepared):
    with pytest.raises(
        UserError, match=r"didemo_ret_val\.json, or val_list\.txt and .*val\.jsonl;"
    ):
        prepared("didemo", "val")
    message = rf"\(split test\): exists_test_list\.txt and {PICKLE}; name their folder"
    with pytest.raises(UserError, match=message):
        prepared("queryd")
    with pytest.raises(UserError, match=r"format=umt: condmov, split test, has no such format"):
        prepared("condmov", format="umt")


def test_one_file_is_umt_s(folder, prepared):
    rows = json.dumps([{"video": "a.mp4", "caption": "mine"}])
    write(folder, {"mine.json": rows, "train.json": rows})
    videos(folder, "a.mp4")
    assert prepared("queryd", source=folder / "mine.json")[1].gallery.texts == ("mine",)
    source = folder / "train.json"
    assert prepared("anet", source=source, format="umt")[1].gallery.texts == ("mine",)
    with pytest.raises(UserError, match=r"json: CLIP4Clip's and TESTA's files are found by their"):
        prepared("anet", source=source)
    with pytest.raises(
        UserError, match=r"mine\.json: TESTA's files are found by their names; give"
    ):
        prepared("anet", source=folder / "mine.json", format="testa")
    with pytest.raises(UserError, match=r"format=vatex: anet, split test, has no such format"):
        prepared("anet", source=source, format="vatex")


def test_the_answers_of_the_split_are_chosen_from(folder, prepared):
    answers = dict(zip("abcdefg", ("yes", "man", "yes", "2", "sea", "no", "ball"), strict=True))
    asked = [{"video_name": n, "question": "who", "question_id": n} for n in answers]
    answered = [{"question_id": n, "answer": answer} for n, answer in answers.items()]
    write(folder, {"test_q.json": asked, "test_a.json": answered})
    videos(folder, "v_a.mp4", "v_b.mp4", "c.mp4", "v_e.mp4", "v_f.mp4", "v_g.mp4")
    with pytest.raises(UserError, match=r"config\.data\.answers, where 'split' stands for the ans"):
        prepared("anet_qa", on_broken="skip")
    _, source = prepared("anet_qa", on_broken="skip", answers="split")
    expected = ("2", "ball", "man", "no", "sea", "yes")  # also of the video that is not there
    assert source.gallery.answers == expected
    assert source.gallery.truths[:4] == (("yes",), ("man",), ("yes",), ("sea",))
    assert source.broken == ("v_d",)


def test_what_is_not_prepared_is_reported_with_the_command(tmp_path):
    place = {"dataset": "queryd", "split": "val", "folder": str(tmp_path), "workers": 0}
    config = Data(paragraph=True).override(place)
    with pytest.raises(UserError, match=r"--dataset queryd --annotations DIR .* --splits val"):
        data.open_retrieval(config, 4)
    config = QuestionData().override({**place, "dataset": "anet_qa"})
    with pytest.raises(UserError, match=r"anet_qa, split val, is not prepared"):
        data.open_questions(config, 4)
