"""Texts to token ids: cleaning, WordPiece, and each system's rule for start, end and padding.

Sources: BERT (NAACL 2019) for WordPiece; UMT (ICCV 2023) for its cleaning and for texts without an
end token; CLIP (ICML 2021) for texts that always have one (its engine is in `byte_pairs`); BLIP
(ICML 2022) and TESTA (EMNLP 2023) for a cleaning that counts words, and two tokens more.
"""

import dataclasses
import functools
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import tokenizers
from jaxtyping import Bool, Int, Int32
from tokenizers import models, normalizers, pre_tokenizers

from tokmerge_jax.data.text import byte_pairs, vocabulary
from tokmerge_jax.types import UserError

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_DROPPED = str.maketrans("-/", "  ", ",.'!?\"()*#:;~")
_DROPPED_OF_CAPTIONS = str.maketrans('!"()*#~', " " * 7)
_DROPPED_OF_QUESTIONS = str.maketrans("", "", '.!"()*#:;~')
_QUESTION_WORDS = 50  # of a question of TESTA; the pieces are limited beside it

ENCODE, DECODE = "[ENC]", "[DEC]"
"""What BLIP's networks read in the place of [CLS]: texts with a video, and texts to be written."""


def pre_text(text: str) -> str:
    """UMT's cleaning of captions, paragraphs and questions.

    Lower case; , . ' ! ? " ( ) * # : ; ~ are deleted; - and / become spaces; white space of two or
    more characters becomes one space.
    """
    return _closed_up(text.lower().translate(_DROPPED).replace("<person>", "person"))


def pre_caption(text: str) -> str:
    """TESTA's cleaning of captions and paragraphs, which `TextRule.words` cuts then.

    Lower case; ! " ( ) * # ~ become spaces; white space of two or more characters becomes one
    space.
    """
    return _closed_up(text.lower().translate(_DROPPED_OF_CAPTIONS))


def pre_question(text: str, max_words: int = _QUESTION_WORDS) -> str:
    """TESTA's cleaning of questions.

    Lower case; . ! " ( ) * # : ; ~ are deleted; of what is between single spaces, the first
    `max_words` are kept.
    """
    return _first_words(text.lower().translate(_DROPPED_OF_QUESTIONS).rstrip(" "), max_words)


def _closed_up(text: str) -> str:
    return re.sub(r"\s{2,}", " ", text).rstrip("\n").strip(" ")


def _first_words(text: str, count: int) -> str:
    return " ".join(text.split(" ")[:count])


@runtime_checkable
class Engine(Protocol):
    """Cuts texts into the pieces of one vocabulary."""

    @property
    def size(self) -> int:
        """How many ids there are."""
        ...

    def ids_of(self, texts: Sequence[str]) -> list[list[int]]:
        """The pieces' ids of texts that are clean; no token is added."""
        ...

    def id_of(self, token: str) -> int:
        """The id of a special token."""
        ...


@dataclasses.dataclass(frozen=True)
class _WordPieces:
    pieces: tokenizers.Tokenizer

    @property
    def size(self) -> int:
        return self.pieces.get_vocab_size()

    def ids_of(self, texts: Sequence[str]) -> list[list[int]]:
        found = self.pieces.encode_batch(list(texts), add_special_tokens=False)
        return [text.ids for text in found]

    def id_of(self, token: str) -> int:
        (found,) = self.pieces.encode(token, add_special_tokens=False).ids
        return found


@functools.cache
def word_pieces(name: str) -> Engine:
    """BERT's uncased WordPiece engine over the vocabulary `name` (see `vocabulary.find`).

    Raises:
      UserError: if there is no such vocabulary, or it does not begin with [PAD] and hold BERT's
        special tokens.
    """
    return _WordPieces(_bert(name))


@functools.cache
def word_pieces_with_modes(name: str) -> Engine:
    """As `word_pieces`, with BLIP's two tokens: `DECODE` after the vocabulary's last, `ENCODE`."""
    return _WordPieces(_bert_with_modes(name))


def spell(name: str, ids: Int[np.ndarray, "Q L"]) -> list[str]:
    """The texts of word pieces over the vocabulary `name`, special tokens left out.

    Pieces that go on (##) join the one before them, and punctuation closes up, as transformers 4.21
    decodes. Errors as of `word_pieces`.
    """
    engine = _bert_with_modes(name)
    return [_closed_words(map(engine.id_to_token, row)) for row in ids.tolist()]


def _closed_words(tokens: Iterable[str | None]) -> str:
    words = (token for token in tokens if token not in (None, *_SPECIAL, DECODE, ENCODE))
    text = " ".join(words).replace(" ##", "").strip()
    for apart in (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're"):
        text = text.replace(apart, apart.strip())
    return text


def _bert_with_modes(name: str) -> tokenizers.Tokenizer:
    engine = _bert(name)
    engine.add_special_tokens([DECODE, ENCODE])
    return engine


def _bert(name: str) -> tokenizers.Tokenizer:
    path = vocabulary.find(name)
    with path.open(encoding="utf-8", errors="replace") as lines:
        ids = {line.rstrip("\n"): i for i, line in enumerate(lines)}
    missing = [token for token in _SPECIAL if token not in ids]
    if missing or ids["[PAD]"] != 0:
        fault = f"lacks {', '.join(missing)}" if missing else "does not begin with [PAD]"
        raise UserError(f"{path} is no BERT vocabulary: it {fault}")
    engine = tokenizers.Tokenizer(
        models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100)
    )
    engine.normalizer = normalizers.BertNormalizer(lowercase=True)
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    engine.add_special_tokens(list(_SPECIAL))
    return engine


@dataclasses.dataclass(frozen=True)
class TextRule:
    """How a system turns a text into ids.

    Attributes:
      clean: applied to the text first.
      start: the token that every text begins with.
      end: the token that a text ends with; "" = none.
      end_stays: whether a text that is too long loses pieces and keeps its end.
      engine: the engine over the vocabulary of a name; one object for each name.
      words: number of words of a clean text that are kept, `config.data.max_words`; 0 = all. Words
        are what is between single spaces.
    """

    clean: Callable[[str], str]
    start: str
    end: str = ""
    end_stays: bool = False
    engine: Callable[[str], Engine] = word_pieces
    words: int = 0

    def cleaned(self, text: str) -> str:
        """The text, clean and cut to `words`."""
        clean = self.clean(text)
        return _first_words(clean, self.words) if self.words else clean


def as_it_is(text: str) -> str:
    """No cleaning."""
    return text


UMT = TextRule(clean=pre_text, start="[CLS]")
"""Captions, paragraphs and questions."""

UMT_ANSWER = TextRule(clean=as_it_is, start="[CLS]", end="[SEP]")
"""Answers of question answering."""

TESTA = TextRule(
    clean=as_it_is,
    start="[CLS]",
    end="[SEP]",
    end_stays=True,
    engine=word_pieces_with_modes,
)
"""Texts as they are: answers, and captions that are not cleaned."""

TESTA_QUESTION = dataclasses.replace(TESTA, clean=pre_question)
"""Questions, cleaned."""


def testa_caption(max_words: int) -> TextRule:
    """Captions and paragraphs, cleaned and cut to `max_words` words; 0 = as they are.

    Raises:
      UserError: if `max_words` is negative.
    """
    if max_words < 0:
        raise UserError(f"config.data.max_words={max_words} must be 0 (as they are) or more")
    if not max_words:
        return TESTA
    return dataclasses.replace(TESTA, clean=pre_caption, words=max_words)


CLIP = TextRule(
    clean=byte_pairs.clean,
    start=byte_pairs.START,
    end=byte_pairs.END,
    end_stays=True,
    engine=byte_pairs.byte_pairs,
)
"""Captions of the systems that build on CLIP."""


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """Texts -> ids by `rule`; the vocabulary is found and read when it is first called.

    Attributes:
      rule: the system's rule, for example `UMT`.
      vocabulary: see `vocabulary.find`.
      length: L; longer texts are cut, shorter ones padded with 0.
      limit: ids must be below it: rows of the network's word table.
      key: of the configuration's `data`, where `length` is from.
    """

    rule: TextRule
    vocabulary: str
    length: int
    limit: int
    key: str = "max_text_length"

    def __call__(
        self, texts: Sequence[str]
    ) -> tuple[Int32[np.ndarray, "Q L"], Bool[np.ndarray, "Q L"]]:
        """Ids, and which of them are not padding.

        Raises:
          UserError: if there is no such vocabulary, it is none of the rule's engine, or is too
            large.
        """
        engine = self.rule.engine(self.vocabulary)
        if engine.size > self.limit:
            raise UserError(
                f"config.data.vocabulary={self.vocabulary} has {engine.size} words, but"
                f" config.model.text.vocab_size={self.limit}; take the checkpoint's vocabulary"
            )
        end = [engine.id_of(self.rule.end)] if self.rule.end else []
        room, longest = self.length - 1, self._longest
        ids = np.zeros((len(texts), self.length), np.int32)
        ids[:, 0] = engine.id_of(self.rule.start)
        counts = np.ones(len(texts), np.int32)
        for row, pieces in enumerate(engine.ids_of([self.rule.cleaned(t) for t in texts])):
            kept = (pieces[:longest] + end)[:room]
            ids[row, 1 : 1 + len(kept)] = kept
            counts[row] += len(kept)
        return ids, np.arange(self.length) < counts[:, None]

    def cut(self, texts: Sequence[str]) -> int:
        """Number of texts that lose words or pieces, their end not counted; errors as of a call."""
        clean = [self.rule.clean(text) for text in texts]
        kept = [self.rule.cleaned(text) for text in texts]
        pieces = self.rule.engine(self.vocabulary).ids_of(kept)
        losses = zip(clean, kept, pieces, strict=True)
        return sum(words != some or len(found) > self._longest for words, some, found in losses)

    def report_cut(self, texts: Sequence[str], what: str) -> None:
        """Reports on stderr how many texts, `what` in words, are cut, and which keys say where."""
        if cut := self.cut(texts):
            words = f"config.data.max_words={self.rule.words} words and " if self.rule.words else ""
            limits = f"{words}config.data.{self.key}={self.length} pieces"
            print(f"{cut} of {len(texts)} {what} are cut to {limits}", file=sys.stderr)

    @property
    def _longest(self) -> int:
        """Pieces of a text that there is room for, beside the start and an end that stays."""
        return self.length - 1 - self.rule.end_stays

    def id_of(self, token: str) -> int:
        """The id of a special token, for example "[MASK]"."""
        return self.rule.engine(self.vocabulary).id_of(token)
