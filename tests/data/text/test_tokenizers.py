"""Cleaning and WordPiece ids against the originals', and where vocabularies are looked for."""

import json
import pathlib
import pickle
import string

import golden
import numpy as np
import pytest
import vocabularies

from tokmerge_jax.data.text import tokenizers, vocabulary
from tokmerge_jax.types import UserError

GOLDENS = pathlib.Path(__file__).parents[2] / "goldens"
CLEAN = json.loads((GOLDENS / "tokenizers-clean.json").read_text())
SENTENCES = json.loads((GOLDENS / "tokenizers-bert.json").read_text())["inputs"]["sentences"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.txt"
    path.write_text("\n".join([*SPECIAL, "a", "dog", "run", "##s", *"xyz"]) + "\n")
    return str(path)


def test_cleaning():
    cleaned = [tokenizers.pre_text(sentence) for sentence in CLEAN["inputs"]["sentences"]]
    assert cleaned == CLEAN["expected"]["umt_pre_text"]


@vocabularies.real
@pytest.mark.parametrize("length", [32, 25, 5])
def test_ids_of_the_original(length):
    expected = np.load(GOLDENS / "tokenizers-bert.npz")
    as_it_is = tokenizers.TextRule(clean=str, start="[CLS]")
    ids, mask = tokenizers.Tokenizer(as_it_is, "bert-base-uncased", length, 30522)(SENTENCES)
    np.testing.assert_array_equal(ids, expected[f"umt_{length}"])
    np.testing.assert_array_equal(mask, expected[f"umt_{length}_mask"])


@vocabularies.real
def test_questions_and_answers_of_the_original():
    case = golden.load("umtqa-b16")
    spec, expected = case.config, case.arrays
    question = tokenizers.Tokenizer(tokenizers.UMT, "bert-base-uncased", spec["max_q_len"], 30522)
    answer = tokenizers.Tokenizer(
        tokenizers.UMT_ANSWER, "bert-base-uncased", spec["max_a_len"], 30522
    )
    ids, _ = question([spec["question"]])
    np.testing.assert_array_equal(ids, expected["inputs/question_ids"])
    ids, mask = answer(spec["answers"])
    np.testing.assert_array_equal(ids, expected["inputs/answer_ids"])
    np.testing.assert_array_equal(mask, ids != 0)


def test_answers_are_not_cleaned_and_end_where_they_fit(small):
    answers = tokenizers.Tokenizer(tokenizers.UMT_ANSWER, small, 4, 12)
    ids, _ = answers(["dog", "a-dog", "a dog runs", ""])
    dog, a, unknown = 6, 5, 1
    assert ids.tolist() == [[2, dog, 3, 0], [2, a, unknown, dog], [2, a, dog, 7], [2, 3, 0, 0]]


def test_a_vocabulary_larger_than_the_word_table_is_refused(small):
    with pytest.raises(UserError, match=r"small\.txt has 12 words, but config.*vocab_size=11"):
        tokenizers.Tokenizer(tokenizers.UMT, small, 4, 11)(["dog"])


def test_umt_cleans_starts_cuts_pads_and_does_not_end(small):
    tokenizer = pickle.loads(pickle.dumps(tokenizers.Tokenizer(tokenizers.UMT, small, 4, 12)))
    ids, mask = tokenizer(["A dog runs!", "dog", "", "a-dog/runs a dog"])
    assert ids.tolist() == [[2, 5, 6, 7], [2, 6, 0, 0], [2, 0, 0, 0], [2, 5, 6, 7]]
    assert mask.tolist() == [
        [True] * 4,
        [True, True, False, False],
        [True] + [False] * 3,
        [True] * 4,
    ]
    assert ids.dtype == np.int32


def test_unknown_words(small):
    ids, _ = tokenizers.Tokenizer(tokenizers.UMT, small, 4, 12)(["dogs cat"])
    assert ids.tolist() == [[2, 6, 8, 1]]


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (["[UNK]", "[PAD]", *SPECIAL[2:]], r"does not begin with \[PAD\]"),
        ([*SPECIAL[:3], *string.ascii_lowercase], r"lacks \[SEP\], \[MASK\]"),
    ],
)
def test_wrong_vocabularies_are_refused(tmp_path, lines, fault):
    path = tmp_path / "wrong.txt"
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=rf"wrong\.txt is no BERT vocabulary: it {fault}"):
        tokenizers.word_pieces(str(path))


def test_a_folder_of_vocabularies(tmp_path, monkeypatch):
    monkeypatch.setenv(vocabulary.FOLDER_VARIABLE, str(tmp_path))
    (tmp_path / "mine-vocab.txt").write_text("\n".join(SPECIAL))
    assert vocabulary.find("mine") == tmp_path / "mine-vocab.txt"


def test_a_changed_vocabulary_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(vocabulary.FOLDER_VARIABLE, str(tmp_path))
    (tmp_path / "bert-base-uncased-vocab.txt").write_text("\n".join(SPECIAL))
    with pytest.raises(UserError, match="is not the vocabulary of bert-base-uncased"):
        vocabulary.find("bert-base-uncased")


def test_a_missing_file_is_named():
    with pytest.raises(UserError, match=r"nowhere/vocab\.txt: no such file"):
        vocabulary.find("nowhere/vocab.txt")


def test_offline_the_error_names_file_checksum_and_option(monkeypatch, tmp_path):
    import huggingface_hub

    def offline(*args):
        raise OSError("offline")

    monkeypatch.setenv(vocabulary.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(
        UserError, match=r"uncased-vocab\.txt \(sha256 07eced37\w+\).*config\.data\.vocab"
    ):
        vocabulary.find("bert-base-uncased")
