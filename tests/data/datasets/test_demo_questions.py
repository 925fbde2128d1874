"""The demo's questions are about one event each, and their answers are what the clip shows."""

import re

import numpy as np
import pytest

from tokmerge_jax.configs import demo_qa
from tokmerge_jax.data.datasets import demo
from tokmerge_jax.data.datasets.demo import questions as demo_questions
from tokmerge_jax.data.datasets.demo import scene
from tokmerge_jax.data.datasets.demo.scene import EVENTS
from tokmerge_jax.data.text.tokenizers import UMT, UMT_ANSWER, Tokenizer

ORDER = {"first": 0, "last": 1}
NUMBER = {"zero": 0, "one": 1, "two": 2}


def asked(count=400):
    """Stories, and what is asked about them."""
    rng = np.random.default_rng(5)
    for _ in range(count):
        first, second = rng.choice(len(EVENTS), 2, replace=False)
        story = EVENTS[first], EVENTS[second]
        yield story, demo_questions.ask(story, rng)


def meant(story, clause):
    """The events that a clause may mean."""
    if clause.split()[0] in ORDER:
        return [story[ORDER[clause.split()[0]]]]
    words = set(clause.split())
    return [e for e in story if words - {"shape", "that", "moves"} <= set(str(e).split())]


@pytest.mark.parametrize(
    ("kind", "pattern", "part"),
    [
        ("colour", r"what colour is the (.*)\?", "colour"),
        ("shape", r"what is the (.*)\?", "shape"),
        ("direction", r"which way does the (.*) move\?", "direction"),
    ],
)
def test_questions_about_an_event(kind, pattern, part):
    for story, questions in asked():
        question, answer = questions[kind]
        match = re.fullmatch(pattern, question)
        assert match
        (event,) = meant(story, match[1])
        assert answer == getattr(event, part)


def test_counting():
    seen = set()
    for story, questions in asked():
        question, answer = questions["count"]
        words = {word.removesuffix("s") for word in question.rstrip("?").split()}
        words |= {"cross"} if "crosses" in question else set()
        known = [words & set(str(event).split()) - {"move"} for event in story]
        assert NUMBER[answer] == sum(map(bool, known)), (story, question)
        seen.add(answer)
    assert seen == set(NUMBER)


def test_order():
    seen = set()
    for story, questions in asked():
        question, answer = questions["order"]
        pairs = [f"{event.colour} {event.shape}" for event in story]
        if match := re.fullmatch(r"what moves (first|last)\?", question):
            assert answer == pairs[ORDER[match[1]]]
        else:
            match = re.fullmatch(r"does the (.*) move before the (.*)\?", question)
            assert match
            assert answer == ("yes" if list(match.groups()) == pairs else "no")
            assert sorted(match.groups()) == sorted(pairs)
        seen.add(answer)
    assert {"yes", "no"} < seen


def test_answers_are_in_the_list_and_words_in_the_vocabulary():
    config = demo_qa.get_config()
    data, words = config.data, config.model.text.vocab_size
    ask = Tokenizer(UMT, data.vocabulary, data.max_text_length, words)
    reply = Tokenizer(UMT_ANSWER, data.vocabulary, data.max_answer_length, words)
    questions, answers = zip(*(q for _, pairs in asked() for q in pairs.values()), strict=True)
    assert set(answers) <= set(demo_questions.ANSWERS)
    assert len(set(demo_questions.ANSWERS)) == len(demo_questions.ANSWERS)
    for tokenizer, texts in ((ask, questions), (reply, demo_questions.ANSWERS)):
        ids, mask = tokenizer(texts)
        assert not (ids == 1).any()  # [UNK]
        assert not mask[:, -1].all()
    ids, _ = ask(questions)
    assert len(np.unique(ids, axis=0)) == len(set(questions))


def test_splits_share_no_story():
    told = {split: set(demo.stories(split)) for split in demo.COUNTS}
    assert not told["val"] & (told["train"] | told["test"])
    assert scene.caption(demo.stories("val")[0])
