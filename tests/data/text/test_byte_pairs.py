"""CLIP's byte-pair ids against the originals' and by hand, and which files are refused."""

import gzip
import os
import pathlib
import pickle

import golden
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokmerge_jax import demo_files
from tokmerge_jax.data.datasets.demo import scene
from tokmerge_jax.data.text import byte_pairs, tokenizers, vocabulary
from tokmerge_jax.types import UserError

FILE = "bpe_simple_vocab_16e6.txt.gz"
REAL = pathlib.Path(os.environ.get(vocabulary.FOLDER_VARIABLE, "")) / FILE
DEMO = pathlib.Path(demo_files.path("demo_bpe.txt"))
SMALL = ["d o", "o g</w>", "d og</w>", "u n", "r un", "run s</w>", "Ã ©</w>"]  # 512 to 518
START, END = 519, 520
DO, G_END = 512, 256 + ord("g") - 33

real_vocabulary = pytest.mark.skipif(
    not REAL.is_file(), reason=f"{vocabulary.FOLDER_VARIABLE} names no folder with {FILE}"
)


def merges(*lines, header="#version: 0.2"):
    return "\n".join([header, *lines, ""]).encode()


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.txt"
    path.write_bytes(merges(*SMALL))
    return str(path)


@real_vocabulary
@pytest.mark.parametrize("name", ["tokenizers-clip", "clip-tokenizer"])
def test_ids_of_openai(name):
    case = golden.load(name)
    texts = case.spec["inputs"]["sentences"]
    ids, mask = tokenizers.Tokenizer(tokenizers.CLIP, "clip", 77, 49408)(texts)
    np.testing.assert_array_equal(ids, case.arrays["ids"])
    np.testing.assert_array_equal(mask.sum(1), np.minimum(case.arrays["length"], 77))


@real_vocabulary
@pytest.mark.parametrize("length", [32, 72])
def test_ids_of_pe_core(length):
    """Other special strings; a text that is too long is cut and still ends."""
    case = golden.load("pecore-tokenizer")
    texts = case.spec["inputs"]["sentences"]
    ids, mask = tokenizers.Tokenizer(tokenizers.PE_CORE, "clip", length, 49408)(texts)
    np.testing.assert_array_equal(ids, case.arrays[f"ids_{length}"])
    np.testing.assert_array_equal(mask.sum(1), np.minimum(case.arrays["length"], length))


@real_vocabulary
def test_ids_of_internvideo2():
    """Cleaned as UMT's; the literals of CLIP's special strings are ordinary text."""
    case = golden.load("internvideo2-tokenizer")
    texts = case.spec["inputs"]["sentences"]
    ids, _ = tokenizers.Tokenizer(tokenizers.INTERNVIDEO2, "clip", 77, 49408)(texts)
    np.testing.assert_array_equal(ids, case.arrays["ids"])
    ids, _ = tokenizers.Tokenizer(tokenizers.PE_CORE, "clip", 77, 49408)(texts)
    np.testing.assert_array_equal(ids, case.arrays["ids_raw"])
    assert [tokenizers.pre_text(text) for text in texts] == case.spec["cleaned"]


@real_vocabulary
@pytest.mark.parametrize(
    ("name", "prefix"), [("tempme-captions", ""), ("tokenizers-clip", "tempme_")]
)
def test_ids_of_tempme(name, prefix):
    case = golden.load(name)
    texts = case.spec["inputs"]["sentences"]
    ids, mask = tokenizers.Tokenizer(tokenizers.CLIP, "clip", 32, 49408)(texts)
    np.testing.assert_array_equal(ids, case.arrays[f"{prefix}ids"])
    np.testing.assert_array_equal(mask, case.arrays[f"{prefix}mask"])


@real_vocabulary
def test_pieces_of_the_original_without_special_tokens():
    case = golden.load("tokenizers-clip")
    texts = [byte_pairs.clean(sentence) for sentence in case.spec["inputs"]["sentences"]]
    for ids, expected in zip(
        byte_pairs.byte_pairs("clip").ids_of(texts), case.arrays["raw"], strict=True
    ):
        assert ids == expected[expected >= 0].tolist()


@real_vocabulary
def test_the_file_of_the_hub_is_as_good(monkeypatch, tmp_path):
    import huggingface_hub

    lines = gzip.decompress(REAL.read_bytes()).decode().split("\n")[1:48_895]
    path = tmp_path / "merges.txt"
    path.write_bytes(merges(*lines, header="#version: 0.2 - Trained by `huggingface/tokenizers`"))
    monkeypatch.setenv(vocabulary.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *args: str(path))
    assert vocabulary.find("clip") == path
    texts = ["supercalifragilistic jekyll's café", "jeky ll"]
    of_hub, original = byte_pairs.byte_pairs(str(path)), byte_pairs.byte_pairs(str(REAL))
    assert of_hub.size == original.size == 49_408
    assert of_hub.ids_of(texts) == original.ids_of(texts)


@pytest.mark.parametrize(
    ("sentence", "ids"),
    [
        ("dog", [DO, G_END]),  # "d o" comes before "o g</w>", so that "d og</w>" never has its turn
        ("og", [513]),
        ("runs", [517]),
        ("run", [81, 84, 256 + 77]),  # its n ends the word, "u n" is about one that does not
        ("ogdog", [78, 70, DO, G_END]),
        ("do", [67, 256 + 78]),
        ("12!", [256 + 16, 256 + 17, 256]),
        ("dog's", [DO, G_END, 6, 256 + 82]),
        ("é", [518]),
        ("e\u0301", [518]),
        ("😀", [172, 253, 246, 256 + 222]),  # bytes F0 9F 98 80
        ("dog<|EndOfText|>og <|startoftext|>", [DO, G_END, END, 513, START]),
        (" Dog\t \n&amp;lt;OG ", [DO, G_END, 256 + 27, 513]),
        ("", []),
    ],
)
def test_ids_by_hand(small, sentence, ids):
    engine = byte_pairs.byte_pairs(small)
    assert engine.ids_of([byte_pairs.clean(sentence)]) == [ids]
    assert engine.size == 521


def test_the_end_always_comes_last(small):
    tokenizer = pickle.loads(pickle.dumps(tokenizers.Tokenizer(tokenizers.CLIP, small, 4, 521)))
    ids, mask = tokenizer(["dog dog", "dog", "og", ""])
    assert ids.tolist() == [
        [START, DO, G_END, END],
        [START, DO, G_END, END],
        [START, 513, END, 0],
        [START, END, 0, 0],
    ]
    np.testing.assert_array_equal(mask, np.arange(4) < [[4], [4], [3], [2]])
    assert ids.dtype == np.int32
    assert tokenizer.id_of("<|endoftext|>") == END


def test_a_vocabulary_larger_than_the_word_table_is_refused(small):
    with pytest.raises(UserError, match=r"small\.txt has 521 words, but config.*vocab_size=520"):
        tokenizers.Tokenizer(tokenizers.CLIP, small, 4, 520)(["dog"])


# The originals' split, too, loses U+0345: a mark whose capital is a letter.
@given(st.text(st.characters(codec="utf-8", exclude_characters="\u0345")))
def test_the_bytes_of_the_ids_are_the_clean_text(sentence):
    order = [*range(33, 127), *range(161, 173), *range(174, 256)]
    order += [byte for byte in range(256) if byte not in order]
    merged = [line.replace(" ", "").removesuffix("</w>") for line in DEMO.read_text().split("\n")]
    names = [bytes([byte]) for byte in order] * 2 + [name.encode() for name in merged[1:-1]]
    names += [b"<|startoftext|>", b"<|endoftext|>"]
    cleaned = byte_pairs.clean(sentence)
    (ids,) = byte_pairs.byte_pairs(str(DEMO)).ids_of([cleaned])
    assert b"".join(names[i] for i in ids).decode() == cleaned.replace(" ", "")


def test_words_of_the_demo_are_single_tokens():
    engine = byte_pairs.byte_pairs(str(DEMO))
    captions = [scene.caption((event, event)) for event in scene.EVENTS]
    words = {word for caption in captions for word in caption.replace(",", " ,").split()}
    assert {len(ids) for ids in engine.ids_of(sorted(words))} == {1}
    assert {len(ids) for ids in engine.ids_of(captions)} == {14}
    assert engine.size == 578


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "its first line has no '#version'"),
        (b"[PAD]\n[UNK]\n", "its first line has no '#version'"),
        (merges("a b", "ab c d"), "line 3, 'ab c d', does not make a new string of two known ones"),
        (merges("a bc", "b c"), "line 2, 'a bc', does not"),
        (merges("a b", "a b"), "line 3, 'a b', does not"),
        (b"\xff\xfe#version", "'utf-8' codec can't decode"),
        # Without a time: workers that run the tests in parallel must agree on this case's name.
        (gzip.compress(merges(*SMALL), mtime=0)[:-9], "Compressed file ended"),
    ],
)
def test_wrong_files_are_refused(tmp_path, data, fault):
    path = tmp_path / "wrong.txt"
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"wrong\.txt is no list of byte-pair merges: .*{fault}"):
        byte_pairs.byte_pairs(str(path))


def test_merges_are_no_bert_vocabulary(tmp_path):
    path = tmp_path / "merges.txt.gz"
    path.write_bytes(gzip.compress(merges(*SMALL)))
    assert byte_pairs.byte_pairs(str(path)).ids_of(["og"]) == [[513]]
    with pytest.raises(UserError, match=r"merges\.txt\.gz is no BERT vocabulary: it lacks \[PAD\]"):
        tokenizers.word_pieces(str(path))


def test_a_changed_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(vocabulary.FOLDER_VARIABLE, str(tmp_path))
    (tmp_path / FILE).write_bytes(gzip.compress(merges(*SMALL)))
    with pytest.raises(UserError, match=rf"{FILE} is not the vocabulary of clip .*924691ac"):
        vocabulary.find("clip")


def test_offline_the_error_names_file_checksum_and_option(monkeypatch, tmp_path):
    import huggingface_hub

    def offline(*args):
        raise OSError("offline")

    monkeypatch.setenv(vocabulary.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *args: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(
        UserError,
        match=r"no bpe_simple\S+gz \(sha256 924691ac\w+\) in .*merges\.txt.*config\.data\.vocab",
    ):
        vocabulary.find("clip")


def test_other_merges_of_the_hub_are_refused(monkeypatch, tmp_path):
    """Its file's header varies, so the merges themselves are compared."""
    (tmp_path / "merges.txt").write_bytes(merges(*SMALL))
    monkeypatch.setattr(vocabulary, "find", lambda name: tmp_path / "merges.txt")
    with pytest.raises(UserError, match=r"merges\.txt does not hold the 48894 merges of CLIP"):
        byte_pairs.byte_pairs.__wrapped__("clip")


@real_vocabulary
def test_any_header_serves(monkeypatch, tmp_path):
    header, *lines = byte_pairs._lines(vocabulary.find("clip"))
    assert header.startswith('"bpe_simple_vocab')
    content = "\n".join(["#version: 0.2", *lines[:48894]])
    (tmp_path / "merges.txt").write_text(content + "\n", "utf-8")
    expected = byte_pairs.byte_pairs("clip").ids_of(["a dog"])
    monkeypatch.setattr(vocabulary, "find", lambda name: tmp_path / "merges.txt")
    assert byte_pairs.byte_pairs.__wrapped__("clip").ids_of(["a dog"]) == expected
