"""Galleries, paragraphs and training rows, made from records."""

import golden
import numpy as np
import pytest

from tokmerge_jax.data.datasets import galleries
from tokmerge_jax.data.datasets.video_text import Choice, Clip, Question, Record
from tokmerge_jax.types import Gallery, UserError


def record(videos, captions, broken=""):
    clips = (Clip(v, f"/{v}", "cut" if v in broken else "") for v in videos.split())
    return Record(tuple(clips), tuple(captions))


def test_one_caption_a_video():
    gallery, paths = galleries.gallery([record("b", ["x"]), record("a", ["y"])])
    assert gallery == Gallery(("b", "a"), ("x", "y"), ((0,), (1,)))
    assert paths == ("/b", "/a")


def test_each_caption_is_a_text_of_its_own():
    gallery, _ = galleries.gallery([record("a", ["x", "y"]), record("b", ["x"])])
    assert gallery == Gallery(("a", "b"), ("x", "y", "x"), ((0,), (0,), (1,)))


def test_several_videos_of_a_caption():
    gallery, _ = galleries.gallery([record("a b", ["x"]), record("c b", ["y"])])
    assert gallery == Gallery(("a", "b", "c"), ("x", "y"), ((0, 1), (2, 1)))


def test_paragraphs_are_joined_by_single_spaces():
    assert galleries.paragraphs([record("a", ["One.", "two"])]) == [record("a", ["One. two"])]


def test_broken_videos_go_and_with_them_texts_that_have_no_other():
    records = [record("a b", ["x"], "a"), record("c", ["y"], "c"), record("d", ["z"])]
    usable, broken = galleries.without_broken(records)
    assert usable == [record("b", ["x"]), record("d", ["z"])]
    assert [clip.name for clip in broken] == ["a", "c"]


def test_rows_match_by_video():
    rows = galleries.rows([record("a", ["x", "y"]), record("b", ["x"])], match_by_caption=False)
    assert [(r.path, r.caption, r.match_id) for r in rows] == [
        ("/a", "x", 0),
        ("/a", "y", 0),
        ("/b", "x", 1),
    ]


def test_rows_match_by_caption():
    records = [record("a", ["x"]), record("b", ["y"]), record("c", ["x"])]
    assert [row.match_id for row in galleries.rows(records, match_by_caption=True)] == [0, 1, 0]


def question(video, text, *answers):
    return Question((Clip(video, f"/{video}"),), text, text, answers)


def test_questions_about_one_video_stand_together():
    records = [question("b", "x", "1"), question("a", "y", "2"), question("b", "z", "3")]
    asked, paths = galleries.questions(records, ("1", "2"))
    assert (asked.videos, paths) == (("b", "a"), ("/b", "/a"))
    assert (asked.texts, asked.about) == (("x", "z", "y"), (0, 0, 1))
    assert asked.truths == (("1",), ("3",), ("2",))


def test_weights_of_answers():
    """Different answers in order of appearance, each with its share, as the original has them."""
    case = golden.load("umtqa-answer-weights").spec
    raw = [[given] if isinstance(given, str) else given for given in case["inputs"]["raw_answers"]]
    rows = galleries.answer_rows([question(str(i), "?", *given) for i, given in enumerate(raw)])
    for row, expected in zip(rows, case["expected"], strict=True):
        (answers,), (weights,) = row.answers, row.weights
        count = len(expected["answers"])
        assert [f"{answer} [SEP]" for answer in answers[:count]] == expected["answers"]
        np.testing.assert_allclose(weights[:count], expected["weights"], rtol=1e-12)
        assert (set(answers[count:]), set(weights[count:])) <= ({""}, {0.0})


def test_rows_of_several_questions():
    records = [question(video, text, "z") for video, text in ("ax", "by", "aw", "av")]
    first, second, third = galleries.answer_rows(records, 2)
    assert (first.path, first.questions) == ("/a", ("x", "w"))
    assert (second.path, second.questions, second.weights) == ("/a", ("v", ""), ((1.0,), (0.0,)))
    assert (third.path, third.questions) == ("/b", ("y", ""))


def test_choices_have_as_many_options():
    records = [Choice((Clip(n, f"/{n}"),), ("x", "y"), 1) for n in "ab"]
    choices, paths = galleries.choices(records)
    assert (choices.videos, choices.answers, paths) == (("a", "b"), (1, 1), ("/a", "/b"))
    odd = Choice((Clip("c", "/c"),), ("x",), 0)
    with pytest.raises(UserError, match="the same number of options"):
        galleries.choices([*records, odd])
