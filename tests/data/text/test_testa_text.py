"""TESTA's cleaning, pieces and two more tokens against the original's, and cut texts."""

import functools
import json
import pathlib
import pickle

import numpy as np
import pytest
import vocabularies

from tokmerge_jax.data.text import tokenizers
from tokmerge_jax.types import UserError

GOLDENS = pathlib.Path(__file__).parents[2] / "goldens"
CLEAN = json.loads((GOLDENS / "testa-text.json").read_text())["rows"]
TOKENS = json.loads((GOLDENS / "testa-tokens.json").read_text())
WORDS = 30524
PAD, UNK, CLS, SEP, MASK, A, DOG, RUN, S, DEC, ENC = range(11)


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.txt"
    path.write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *["a", "dog", "run", "##s"]])
    )
    return str(path)


@pytest.mark.parametrize("row", CLEAN, ids=lambda r: f"{r['function']}-{r['max_words']}")
def test_cleaning(row):
    words = row["max_words"]
    clean = {
        "pre_caption": tokenizers.testa_caption(words).cleaned,
        "pre_question": functools.partial(tokenizers.pre_question, max_words=words),
    }
    assert clean[row["function"]](row["text"]) == row["out"]


@pytest.mark.parametrize("row", CLEAN, ids=lambda r: f"{r['function']}-{r['max_words']}")
def test_the_rules_clean(row):
    rules = {
        "pre_caption": tokenizers.testa_caption(row["max_words"]),
        "pre_question": tokenizers.TESTA_QUESTION,
    }
    assert rules[row["function"]].cleaned(row["text"]) == row["out"]


def test_captions_and_questions_keep_different_marks():
    assert tokenizers.pre_caption("One, two.\n Three! 4:5;6") == "one, two. three 4:5;6"
    assert tokenizers.pre_question("One, two. Three! 4:5;6?") == "one, two three 456?"
    assert tokenizers.pre_question(" a  b", 2) == " a"  # between two spaces: a word


@vocabularies.real
def test_ids_of_the_added_tokens():
    tokenizer = tokenizers.Tokenizer(tokenizers.TESTA, "bert-base-uncased", 8, WORDS)
    special = TOKENS["special"]
    for name in ("pad", "unk", "cls", "sep", "mask", "dec", "enc"):
        assert tokenizer.id_of(f"[{name.upper()}]") == special[name]
    assert tokenizers.word_pieces_with_modes("bert-base-uncased").size == special["size"] == WORDS
    assert tokenizers.word_pieces("bert-base-uncased").size == WORDS - 2  # of UMT


@vocabularies.real
@pytest.mark.parametrize("row", TOKENS["rows"], ids=lambda r: f"{r['kind']}-{r['max_length']}")
def test_ids_of_the_original(row):
    rule = {"caption": tokenizers.testa_caption(128), "question": tokenizers.TESTA_QUESTION}[
        row["kind"]
    ]
    assert rule.cleaned(row["text"]) == row["clean"]
    tokenizer = tokenizers.Tokenizer(rule, "bert-base-uncased", row["max_length"], WORDS)
    (ids,), (mask,) = tokenizer([row["text"]])
    if row["kind"] == "caption":
        assert ids.tolist() == row["input_ids"]
        assert mask.tolist() == [bool(seen) for seen in row["attention_mask"]]
        expected = {tokenizers.ENCODE: row["matching_ids"], tokenizers.DECODE: row["decoder_ids"]}
    else:  # the original pads to the longest of a batch, here the question itself
        padding = [0] * (row["max_length"] - len(row["input_ids"]))
        assert mask.tolist() == [bool(seen) for seen in row["attention_mask"] + padding]
        expected = {tokenizers.ENCODE: row["input_ids"] + padding}
    for token, wanted in expected.items():
        assert [tokenizer.id_of(token), *ids[1:]] == wanted


def test_texts_that_are_too_long_keep_their_end(small):
    for rule in (tokenizers.TESTA, tokenizers.TESTA_QUESTION, tokenizers.testa_caption(3)):
        ids, mask = tokenizers.Tokenizer(rule, small, 4, 11)(["a dog runs", "dog", ""])
        assert ids.tolist() == [[CLS, A, DOG, SEP], [CLS, DOG, SEP, PAD], [CLS, SEP, PAD, PAD]]
        np.testing.assert_array_equal(mask, ids != PAD)
        assert ids.dtype == np.int32
        assert tokenizers.Tokenizer(rule, small, 4, 11).cut(["a dog runs", "dog", "a dog"]) == 1


def test_texts_that_are_cut_are_reported_with_the_keys(small, capsys):
    texts = ["a dog runs", "dog", "a dog", "A  Dog!"]
    captions = tokenizers.Tokenizer(tokenizers.testa_caption(2), small, 4, 11)
    captions.report_cut(texts[1:], "captions")
    answers = tokenizers.Tokenizer(tokenizers.TESTA, small, 3, 11, "max_answer_length")
    answers.report_cut(texts[:3], "answers")
    tokenizers.Tokenizer(tokenizers.testa_caption(1), small, 8, 11).report_cut(texts, "captions")
    assert capsys.readouterr().err.splitlines() == [
        "2 of 3 answers are cut to config.data.max_answer_length=3 pieces",
        "3 of 4 captions are cut to config.data.max_words=1 words and"
        " config.data.max_text_length=8 pieces",
    ]


def test_words_are_cut_before_pieces(small):
    ids, _ = tokenizers.Tokenizer(tokenizers.testa_caption(2), small, 8, 11)(
        ["A (dog) runs", "runs ~ dog"]
    )
    assert ids.tolist() == [[CLS, A, DOG, SEP, 0, 0, 0, 0], [CLS, RUN, S, DOG, SEP, 0, 0, 0]]


def test_no_words_are_cut_and_nothing_is_cleaned_at_0(small):
    assert tokenizers.testa_caption(0) == tokenizers.TESTA
    ids, _ = tokenizers.Tokenizer(tokenizers.testa_caption(0), small, 6, 11)(["A (dog)"])
    assert ids.tolist() == [[CLS, A, UNK, DOG, UNK, SEP]]


def test_rules_travel_to_worker_processes(small):
    tokenizer = tokenizers.Tokenizer(tokenizers.testa_caption(1), small, 4, 11)
    other = pickle.loads(pickle.dumps(tokenizer))
    assert other(["A dog"])[0].tolist() == tokenizer(["a"])[0].tolist() == [[CLS, A, SEP, PAD]]
    assert (other.id_of(tokenizers.DECODE), other.id_of(tokenizers.ENCODE)) == (DEC, ENC)


def test_wrong_limits_are_refused(small):
    with pytest.raises(UserError, match=r"config\.data\.max_words=-1 must be 0 .* or more"):
        tokenizers.testa_caption(-1)
    with pytest.raises(UserError, match=r"small\.txt has 11 words, but config.*vocab_size=9"):
        tokenizers.Tokenizer(tokenizers.TESTA, small, 4, 9)(["dog"])
