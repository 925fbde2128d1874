"""VideoPrism's captions: canonical form and SentencePiece ids of the original; refusals."""

import golden
import numpy as np
import pytest
import sentencepiece

from tokmerge_jax.data.text import sentence_pieces, tokenizers, vocabulary
from tokmerge_jax.types import UserError

CASE = golden.load("videoprism-tokenizer")
MODEL = str(golden.FOLDER / "videoprism-test-spm.model")
TEXTS = CASE.spec["inputs"]["sentences"]


def test_canonical_captions():
    assert [sentence_pieces.canonical(text) for text in TEXTS] == CASE.spec["canonical"]


def test_ids_of_the_original():
    """The model has a begin token; the pieces after it are as without it, and of raw texts too."""
    tokenize = tokenizers.Tokenizer(tokenizers.VIDEOPRISM, MODEL, 64, 1000)
    ids, mask = tokenize(TEXTS)
    np.testing.assert_array_equal(ids, CASE.arrays["ids"])
    np.testing.assert_array_equal(mask, CASE.arrays["paddings"] == 0)
    engine = sentence_pieces.sentence_pieces(MODEL)
    for texts, name in ((CASE.spec["canonical"], "ids_bos0"), (CASE.spec["canonical"], "ids_12"),
                        (TEXTS, "ids_raw")):  # fmt: skip
        for row, paddings, (begin, *pieces) in zip(
            CASE.arrays[name],
            CASE.arrays[name.replace("ids", "paddings")],
            engine.ids_of(texts),
            strict=True,
        ):
            assert begin == engine.id_of("<s>")
            assert row[paddings == 0].tolist() == pieces[: len(row)]


def test_a_model_without_begin_token_gives_pieces_alone():
    class Plain(sentencepiece.SentencePieceProcessor):
        def bos_id(self):
            return -1

        def encode(self, texts, add_bos):
            assert not add_bos
            return [[7, 8, 9] for _ in texts]

    assert sentence_pieces.SentencePieces(Plain()).ids_of(["x"]) == [[7, 8, 9]]


def test_cut_texts_are_counted():
    (pieces,) = sentence_pieces.sentence_pieces(MODEL).ids_of(["hello."])
    for length, cut in ((len(pieces), 0), (len(pieces) - 1, 1)):
        tokenize = tokenizers.Tokenizer(tokenizers.VIDEOPRISM, MODEL, length, 1000)
        assert tokenize.cut(["", "Hello"]) == cut


@pytest.mark.parametrize(
    ("content", "says"), [(b"no model", "no SentencePiece model"), (None, "no such file")]
)
def test_refusals(content, says, tmp_path):
    path = tmp_path / "other.model"
    if content:
        path.write_bytes(content)
    with pytest.raises(UserError, match=says):
        tokenizers.Tokenizer(tokenizers.VIDEOPRISM, str(path), 4, 1000)(["a"])


def test_c4_en_is_found_in_the_folder_or_fetched_from_its_address(tmp_path, monkeypatch):
    monkeypatch.setenv(vocabulary.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setenv("TOKMERGE_WEIGHTS_DIR", str(tmp_path / "cache"))
    asked = []

    def offline(address, folder):
        asked.append((address, folder))
        raise OSError

    monkeypatch.setattr(vocabulary.downloads, "web_file", offline)
    with pytest.raises(UserError, match=r"no c4_en\.model in .*vocabs/cc_en\.32000 is not in"):
        vocabulary.find("c4_en")
    folder = "https://storage.googleapis.com/t5-data/vocabs/cc_en.32000"
    assert asked == [(f"{folder}/sentencepiece.model", tmp_path / "cache" / "c4_en")]
    (tmp_path / "c4_en.model").touch()
    assert vocabulary.find("c4_en") == tmp_path / "c4_en.model"
