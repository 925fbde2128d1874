"""SentencePiece: texts to ids by a model file; VideoPrism's captions are cleaned before.

Sources: SentencePiece (EMNLP 2018); VideoPrism (ICML 2024), its released code.
"""

import functools
import string
from collections.abc import Sequence

import sentencepiece

from tokmerge_jax.data.text import vocabulary
from tokmerge_jax.types import UserError

_BLANKS = str.maketrans(dict.fromkeys(string.punctuation, " "))


def canonical(text: str) -> str:
    """VideoPrism's cleaning: "Don't stop!" becomes "don t stop.".

    ASCII punctuation becomes blanks; lower case; white space of any length becomes one space; one
    "." ends the text.
    """
    return " ".join(text.translate(_BLANKS).lower().split()) + "."


class SentencePieces:
    """An encoder with one SentencePiece model, whose begin token, if it has one, leads each text.

    Args:
      model: the processor of the model.
    """

    def __init__(self, model: sentencepiece.SentencePieceProcessor):
        self._model = model

    @property
    def size(self) -> int:
        """Number of ids."""
        return self._model.vocab_size()

    def id_of(self, token: str) -> int:
        """The id of one piece, for example "<s>"; that of the unknown piece if there is none."""
        return self._model.piece_to_id(token)

    def ids_of(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of cleaned texts."""
        return self._model.encode(list(texts), add_bos=self._model.bos_id() >= 0)


@functools.cache
def sentence_pieces(name: str) -> SentencePieces:
    """The SentencePiece encoder with the model `name` (see `vocabulary.find`).

    Raises:
      UserError: if there is no such file, or it is no SentencePiece model.
    """
    path = vocabulary.find(name)
    try:
        return SentencePieces(sentencepiece.SentencePieceProcessor(model_file=str(path)))
    except RuntimeError as error:
        raise UserError(f"{path} is no SentencePiece model ({error}); fetch it again") from error
