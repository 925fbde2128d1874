"""Answers are ranked as their definition says, each video and question being read once."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import golden
import numpy as np
import pytest
import small_questions
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from small_questions import ABOUT, ANSWERING, ANSWERS, QUESTIONS

from tokmerge_jax.config import testa
from tokmerge_jax.configs import demo_qa
from tokmerge_jax.evaluation import outcomes
from tokmerge_jax.evaluation.answering import Ranking
from tokmerge_jax.evaluation.answers import Answers, size_of
from tokmerge_jax.types import Questions, UserError

SUPPORT = pathlib.Path(__file__).parents[1] / "support"


def check(ranking, k=4, first_piece=2):
    answers, scores = small_questions.by_hand(k, first_piece)
    np.testing.assert_array_equal(ranking.answers, answers)
    np.testing.assert_allclose(ranking.scores, scores, rtol=1e-4)


@pytest.mark.parametrize(
    ("devices", "batch_size", "k"), [(1, 3, 4), (1, 7, 8), (1, 1, 1), (8, 8, 4), (2, 3, 20)]
)
def test_ranking_is_that_of_the_definition(tmp_path, devices, batch_size, k):
    ranking = small_questions.run(tmp_path, devices=devices, batch_size=batch_size, k=k)
    check(ranking, min(k, len(ANSWERS)))


def test_the_first_piece_may_count_once(tmp_path):
    twice = small_questions.run(tmp_path)
    once = small_questions.run(tmp_path, first_piece=1)  # the other's results are no answer to it
    check(once, first_piece=1)
    assert not np.array_equal(once.answers, twice.answers)


def test_what_is_no_number_has_no_rank(tmp_path):
    """Neither where answers begin, which chooses those that are scored, nor in their scores."""

    def broken(length):
        def next_piece(params, memory, text_mask, *, ids, **tree):
            logs = small_questions.next_piece(params, memory, text_mask, ids=ids, **tree)
            return logs.at[1, 0].set(np.nan) if (ids.shape[1] > 1) == (length > 1) else logs

        return dataclasses.replace(ANSWERING, next_piece=next_piece)

    with pytest.raises(UserError, match=r"answer's first piece of question \d+ .*is nan"):
        small_questions.run(tmp_path, answers=broken(1))
    with pytest.raises(UserError, match=r"score of an answer of question \d+ is nan"):
        small_questions.run(tmp_path, answers=broken(2))


def test_equal_answers_rank_by_number(tmp_path):
    answers = small_questions.run(tmp_path, k=8).answers
    places = np.argsort(answers, axis=1)
    assert (places[:, 5] == places[:, 2] + 1).all()  # answers 2 and 5 are the same


def test_each_video_is_encoded_and_each_question_read_once(tmp_path):
    counts = {"video": 0, "questions": 0}

    def source(size, rows):
        for batch in small_questions.batches(size, rows):
            counts["video"] += int(batch["mask"].sum())
            yield batch

    small_questions.run(tmp_path, source=source)
    assert counts["video"] == len(set(small_questions.ABOUT))  # those with a question
    again = small_questions.run(tmp_path, source=lambda *_: pytest.fail("all is known"))
    check(again)


def test_it_goes_on_at_the_first_video_with_an_open_question(tmp_path):
    def crash(size, rows):
        for batch in small_questions.batches(size, rows):
            if batch["index"][0] >= 4:
                raise OSError("no more videos")
            yield batch

    with pytest.raises(OSError, match="no more videos"):
        small_questions.run(tmp_path, source=crash, batch_size=2)
    starts = []

    def source(size, rows):
        starts.append(rows.tolist())
        return small_questions.batches(size, rows)

    check(small_questions.run(tmp_path, source=source, batch_size=2))
    assert starts == [[6]]  # 0, 1, 3 and 5 have their answers; 2 and 4 no question


@pytest.mark.slow
def test_killed_it_goes_on(tmp_path):
    command = [sys.executable, str(SUPPORT / "small_questions.py"), str(tmp_path)]
    process = subprocess.Popen([*command, "0.5"], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120

    def answered():
        files = list(tmp_path.glob("*/scores_top4_first2.done"))
        return files[0].read_bytes().count(1) if files else 0

    while answered() < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    again = subprocess.run([*command, "0"], capture_output=True, text=True, check=True)
    assert int(again.stdout) < len(QUESTIONS.videos)
    with np.load(tmp_path / "out.npz") as arrays:
        check(Ranking(arrays["answers"], arrays["scores"], None))


def test_too_little_memory_is_told(tmp_path):
    with pytest.raises(UserError, match=r"memory_gib=1e-07 is too little .* \(config.eval.top_k\)"):
        small_questions.run(tmp_path, gib=1e-7)


def test_batches_are_smaller_where_questions_take_much_memory(tmp_path):
    sizes, gib = [], 2.5 * 3 * 4 * 64 * small_questions.WORDS / 2**30  # two questions and a half

    def source(size, rows):
        sizes.append(size)
        return small_questions.batches(size, rows)

    check(small_questions.run(tmp_path, source=source, batch_size=7, gib=gib))
    assert sizes == [2]


def test_results_keep_the_name_that_they_had_before_the_choice(tmp_path):
    small_questions.run(tmp_path)
    small_questions.run(tmp_path, first_piece=1)
    names = {path.name for path in tmp_path.glob("*/answers_*.rows")}
    assert names == {"answers_top4_first2.rows", "answers_top4_first1.rows"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"first_piece": 0}, "config.eval.first_piece=0 must be 1 or 2"),
        ({"answering": "guess"}, "config.eval.answering='guess' is unknown; use rank, generate"),
        ({"beams": 0}, "config.eval.beams=0 must be 1 or more"),
        ({"min_length": 11}, "config.eval.min_length=11 must be at most config.eval.max_length=10"),
    ],
)
def test_options_that_cannot_work_are_told(change, message):
    with pytest.raises(UserError, match=message):
        testa.QuestionAnswering().override({"eval": change}).check()


@given(
    hnp.arrays(
        np.int32, st.tuples(st.integers(1, 12), st.integers(1, 4)), elements=st.integers(2, 5)
    ),
    st.data(),
)
def test_a_tree_holds_every_beginning_once(words, data):
    """Its steps spell out the answers; its nodes are their distinct beginnings, start included."""
    lengths = data.draw(hnp.arrays(np.int32, len(words), elements=st.integers(1, words.shape[1])))
    words = np.where(np.arange(words.shape[1])[None] < lengths[:, None], words, 0)
    ids = np.concatenate([np.full((len(words), 1), 1, np.int32), words], axis=1)
    kept = np.array(data.draw(st.permutations(range(len(ids)))))[: max(len(ids) // 2, 1)]
    answers = Answers(ids)
    tree = answers.tree(kept)
    beginnings = {tuple(row[:n].tolist()) for row in ids[kept] for n in range(1, (row != 0).sum())}
    paths = [
        tuple(tree.ids[np.flatnonzero(seen)][np.argsort(tree.positions[seen])].tolist())
        for seen in tree.visible
    ]
    assert len(paths) == len(set(paths))
    assert set(paths) == beginnings | {(1,)}
    steps = ids[kept].shape[1] - 1
    for row, answer in enumerate(ids[kept]):
        for step in range((answer != 0).sum() - 1):
            place = tree.places[row * steps + step]
            assert paths[place] == tuple(answer[: step + 1].tolist())
            assert tree.pieces[row * steps + step] == answer[step + 1]
    assert size_of([tree]) <= answers.most_nodes(len(kept))
    ones = np.ones(tree.pieces.shape)
    lengths = (ids[kept] != 0).sum(axis=1) - 1
    np.testing.assert_array_equal(answers.log_likelihood(kept, ones), lengths)


def test_a_list_of_short_answers_makes_a_small_tree():
    ids = np.zeros((1000, 5), np.int32)
    ids[:, 0], ids[:, 1], ids[:, 2] = 1, np.arange(3, 1003), 2
    assert len(Answers(ids).tree(np.arange(128)).ids) == 129  # 640 places in rows of five
    assert Answers(ids).most_nodes(128) == 192  # in steps of 64
    first, place = Answers(ids).first_pieces()
    np.testing.assert_array_equal(first.pieces[place], ids[:, 1])


def test_accuracy_of_the_original():
    """Exact match; of a question that was asked twice, the last prediction counts."""
    case = golden.load("umtqa-metrics").spec
    given, truth = case["inputs"]["predictions"], case["inputs"]["ground_truth"]
    right = {row["question_id"]: row["answer"] for row in truth}
    asked = [row for row in given if row["question_id"] in right]
    missing = right.keys() - {row["question_id"] for row in asked}
    asked += [{"question_id": number, "answer": "(none)"} for number in missing]
    # The original counts questions; a question that is there twice is one of them here too.
    once = {row["question_id"]: row["answer"] for row in asked}
    answers = tuple(dict.fromkeys(once.values()))
    questions = Questions(
        ("v",),
        tuple(map(str, once)),
        ("what is it?",) * len(once),
        (0,) * len(once),
        tuple((right[number],) for number in once),
        answers,
    )
    ranking = Ranking(
        np.array([[answers.index(answer)] for answer in once.values()], np.int32),
        np.zeros((len(once), 1), np.float32),
        None,
    )
    outcome = outcomes.answers(ranking, questions, demo_qa.get_config(), [])
    assert outcome.headline == ("accuracy", case["expected"]["overall"])
    assert outcome.scores["what ..."]["count"] == len(once)
    assert json.dumps(outcome.protocol)


def test_what_is_asked_of_the_model(tmp_path):
    """One forward pass of the decoder for the first pieces, one for the rest, per call."""
    seen = []

    def next_piece(params, memory, text_mask, *, ids, **rest):
        seen.append(ids.shape)
        return small_questions.next_piece(params, memory, text_mask, ids=ids, **rest)

    answers = dataclasses.replace(ANSWERING, next_piece=next_piece)
    small_questions.run(tmp_path, answers=answers, batch_size=7)
    most = max(ABOUT.count(video) for video in ABOUT)
    assert {shape[1] for shape in seen} == {1, 64}  # traced once for each size
    assert len(seen) == 2
    assert seen[0][0] == 7 * most
