"""UMT's annotation files, in the shapes that they come in, and what is said of wrong ones."""

import json
import pathlib

import pytest

from tokmerge_jax.data.datasets import umt
from tokmerge_jax.data.datasets.specs import SPECS
from tokmerge_jax.data.datasets.video_text import Choice, Clip, Question, Record
from tokmerge_jax.types import UserError

VIDEOS = pathlib.Path("videos")


@pytest.fixture
def write(tmp_path):
    def write(rows):
        path = tmp_path / "anno.json"
        path.write_text(json.dumps(rows))
        return path

    return write


def clip(name):
    return Clip(name, f"videos/{name}")


def test_one_caption(write):
    records = umt.read(write([{"video": "a/b.mp4", "caption": "x", "id": 3}]), VIDEOS)
    assert records == (Record((clip("a/b.mp4"),), ("x",)),)


def test_several_captions_and_several_videos(write):
    rows = [
        {"video": "a.avi", "caption": ["x", "y"]},
        {"video": ["b.webm", "c.webm"], "caption": "z"},
    ]
    assert umt.read(write(rows), VIDEOS) == (
        Record((clip("a.avi"),), ("x", "y")),
        Record((clip("b.webm"), clip("c.webm")), ("z",)),
    )


def test_questions(write):
    rows = [
        {"video": "a.mp4", "question": "who?", "answer": "man", "question_id": 7},
        {"video": "b.mp4", "question": "what?", "answer": ["x", "y", "x"], "question_id": "q"},
    ]
    assert umt.read(write(rows), VIDEOS, "questions") == (
        Question((clip("a.mp4"),), "7", "who?", ("man",)),
        Question((clip("b.mp4"),), "q", "what?", ("x", "y", "x")),
    )


def test_multiple_choice(write):
    rows = [{"video": "a.mp4", "caption": ["x", "y"], "answer": 1}]
    assert umt.read(write(rows), VIDEOS, "choices") == (Choice((clip("a.mp4"),), ("x", "y"), 1),)


@pytest.mark.parametrize(
    ("kind", "row", "fault"),
    [
        ("questions", {"video": "a", "answer": "x"}, "record 0: field 'question' is missing"),
        ("questions", {"video": "a", "question": "x"}, "record 0: field 'answer' is missing"),
        ("questions", {"video": "a", "question": ["x", "y"], "answer": "z"}, "must be one text"),
        ("choices", {"video": "a", "caption": ["x"], "answer": 1}, "place of one of the captions"),
        ("choices", {"video": "a", "caption": ["x"], "answer": "x"}, "place of one of the cap"),
    ],
)
def test_wrong_questions_and_choices(write, kind, row, fault):
    with pytest.raises(UserError, match=fault):
        umt.read(write([row]), VIDEOS, kind)


def test_answer_lists(write):
    assert umt.read_answers(write(["a", "b b"])) == ("a", "b b")
    with pytest.raises(UserError, match=r"anno\.json, record 1: must be a text, not 1"):
        umt.read_answers(write(["a", 1]))


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"video": "a.mp4"}, "record 1: field 'caption' is missing"),
        ({"caption": "a"}, "record 1: field 'video' is missing"),
        ({"video": "a.mp4", "caption": 3}, "record 1, field 'caption': must be a text, not 3"),
        ({"video": "a.mp4", "caption": []}, "record 1: field 'caption' holds no text"),
        ({"video": ["a", 1], "caption": "a"}, "record 1, field 'video', place 1: must be a text"),
        ("a.mp4", "record 1: must be an object"),
    ],
)
def test_wrong_records_are_named(write, row, fault):
    good = {"video": "a.mp4", "caption": "a"}
    with pytest.raises(UserError, match=rf"anno\.json, {fault}"):
        umt.read(write([good, row]), VIDEOS)


@pytest.mark.parametrize("rows", [{}, [], "text"])
def test_files_that_are_no_list(write, rows):
    with pytest.raises(UserError, match=r"anno\.json: must (be a list, not|hold a non-empty list)"):
        umt.read(write(rows), VIDEOS)


def test_files_that_are_no_json(tmp_path):
    path = tmp_path / "anno.json"
    path.write_text("[{]")
    with pytest.raises(UserError, match=r"anno\.json: cannot be read as JSON"):
        umt.read(path, VIDEOS)


def test_file_names_of_the_data_sets():
    tests = {name: spec.annotations["test"] for name, spec in SPECS.items() if spec.annotations}
    assert tests == {
        "msrvtt": "msrvtt_ret_test1k.json",
        "msvd": "msvd_ret_test.json",
        "anet": "anet_ret_val.json",
        "didemo": "didemo_ret_test.json",
        "lsmdc": "lsmdc_ret_test_1000.json",
        "ssv2_label": "ssv2_ret_label_val_small.json",
        "ssv2_template": "ssv2_ret_template_val_small.json",
        "msrvtt_mc": "msrvtt_mc_test.json",
        "msrvtt_qa": "msrvtt_qa_test.json",
        "msvd_qa": "msvd_qa_test.json",
        "anet_qa": "anet_qa_test.json",
    }
