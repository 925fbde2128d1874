"""Tokenises texts: cleaning, WordPiece, and each system's rule for start, end and padding.

Sources: BERT (NAACL 2019) for WordPiece; UMT (ICCV 2023) for its cleaning and texts without an end
token; CLIP (ICML 2021) for texts that always end in one (its encoder is in `byte_pairs`); BLIP
(ICML 2022) and TESTA (EMNLP 2023) for limits in words and two more special tokens; VideoPrism
(ICML 2024) for texts that have none (its encoder is in `sentence_pieces`).
"""

import dataclasses
import functools
import re
import sys
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import tokenizers
from jaxtyping import Bool, Int, Int32
from tokenizers import models, normalizers, pre_tokenizers

from tokmerge_jax.data.text import byte_pairs, sentence_pieces, vocabulary
from tokmerge_jax.types import UserError

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_DROPPED = str.maketrans("-/", "  ", ",.'!?\"()*#:;~")
_DROPPED_OF_CAPTIONS = str.maketrans('!"()*#~', " " * 7)
_DROPPED_OF_QUESTIONS = str.maketrans("", "", '.!"()*#:;~')
_QUESTION_WORDS = 50  # of a TESTA question; word pieces have a limit of their own

ENCODE, DECODE = "[ENC]", "[DEC]"
"""BLIP's tokens in place of [CLS]: for texts matched with a video, and for generated texts."""


def pre_text(text: str) -> str:
    """UMT's cleaning of captions, paragraphs and questions.

    Lower case; , . ' ! ? " ( ) * # : ; ~ are deleted; - and / become spaces; white space of two or
    more characters becomes one space.
    """
    return _closed_up(text.lower().translate(_DROPPED).replace("<person>", "person"))


def pre_caption(text: str) -> str:
    """TESTA's cleaning of captions and paragraphs, before `TextRule.words` cuts them.

    Lower case; ! " ( ) * # ~ become spaces; white space of two or more characters becomes one
    space.
    """
    return _closed_up(text.lower().translate(_DROPPED_OF_CAPTIONS))


def pre_question(text: str, max_words: int = _QUESTION_WORDS) -> str:
    """TESTA's cleaning of questions.

    Lower case; . ! " ( ) * # : ; ~ are deleted; the first `max_words` words, split at single
    spaces, are kept.
    """
    return _first_words(text.lower().translate(_DROPPED_OF_QUESTIONS).rstrip(" "), max_words)


def _closed_up(text: str) -> str:
    return re.sub(r"\s{2,}", " ", text).rstrip("\n").strip(" ")


def _first_words(text: str, count: int) -> str:
    return " ".join(text.split(" ")[:count])


@runtime_checkable
class Engine(Protocol):
    """An encoder of texts with one vocabulary."""

    @property
    def size(self) -> int:
        """Number of ids."""
        ...

    def ids_of(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of cleaned texts, without special tokens."""
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
        encoded = self.pieces.encode_batch(list(texts), add_special_tokens=False)
        return [text.ids for text in encoded]

    def id_of(self, token: str) -> int:
        (number,) = self.pieces.encode(token, add_special_tokens=False).ids
        return number


@functools.cache
def word_pieces(name: str) -> Engine:
    """BERT's uncased WordPiece encoder with the vocabulary `name` (see `vocabulary.find`).

    Raises:
      UserError: if there is no such vocabulary, or it does not begin with [PAD] and hold BERT's
        special tokens.
    """
    return _WordPieces(_bert(name))


@functools.cache
def word_pieces_with_modes(name: str) -> Engine:
    """`word_pieces` with BLIP's two tokens after the vocabulary's last: `DECODE`, then `ENCODE`."""
    return _WordPieces(_bert_with_modes(name))


def spell(name: str, ids: Int[np.ndarray, "Q L"]) -> list[str]:
    """Decodes word pieces of the vocabulary `name` to texts, without special tokens.

    Continuation pieces (##) join the piece before, and spaces before punctuation are removed, as in
    transformers 4.21. Errors as in `word_pieces`.
    """
    engine = _bert_with_modes(name)
    special = (None, *_SPECIAL, DECODE, ENCODE)
    rows = ([engine.id_to_token(word) for word in row] for row in ids.tolist())
    pieces = ([piece for piece in row if piece not in special] for row in rows)
    texts = [" ".join(row).replace(" ##", "").strip() for row in pieces]
    for apart in (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're"):
        texts = [text.replace(apart, apart.strip()) for text in texts]
    return texts


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
    """A system's rule for turning a text into ids.

    Attributes:
      clean: the cleaning, applied first.
      start: the first token of every text; "" = none beside those that the engine gives.
      end: the last token of a text; "" = none.
      end_stays: whether a text that is too long keeps its end token (and loses pieces instead).
      engine: vocabulary name -> encoder, the same object for the same name.
      words: largest number of words, split at single spaces (`config.data.max_words`); 0 = all.
    """

    clean: Callable[[str], str]
    start: str
    end: str = ""
    end_stays: bool = False
    engine: Callable[[str], Engine] = word_pieces
    words: int = 0

    def cleaned(self, text: str) -> str:
        """Cleans a text and cuts it to `words`."""
        clean = self.clean(text)
        return _first_words(clean, self.words) if self.words else clean


def as_it_is(text: str) -> str:
    """Returns the text unchanged."""
    return text


UMT = TextRule(clean=pre_text, start="[CLS]")
"""UMT's captions, paragraphs and questions."""

UMT_ANSWER = TextRule(clean=as_it_is, start="[CLS]", end="[SEP]")
"""UMT's answers."""

TESTA = TextRule(
    clean=as_it_is,
    start="[CLS]",
    end="[SEP]",
    end_stays=True,
    engine=word_pieces_with_modes,
)
"""TESTA's uncleaned texts: answers, and captions without a word limit."""

TESTA_QUESTION = dataclasses.replace(TESTA, clean=pre_question)
"""TESTA's questions, cleaned."""


def testa_caption(max_words: int) -> TextRule:
    """TESTA's rule for captions and paragraphs: cleaned and cut to `max_words`; 0 = unchanged.

    Raises:
      UserError: if `max_words` is negative.
    """
    if max_words < 0:
        raise UserError(f"config.data.max_words={max_words} must be 0 (unchanged) or more")
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
"""Captions of the systems that are built on CLIP."""

_PLAIN = byte_pairs.PLAIN_START, byte_pairs.PLAIN_END

PE_CORE = dataclasses.replace(
    CLIP,
    start=byte_pairs.PLAIN_START,
    end=byte_pairs.PLAIN_END,
    engine=functools.partial(byte_pairs.byte_pairs, special=_PLAIN),
)
"""PE-Core's captions: CLIP's rule with other names of the special tokens."""

VIDEOPRISM = TextRule(
    clean=sentence_pieces.canonical, start="", engine=sentence_pieces.sentence_pieces
)
"""VideoPrism's captions: a begin token only if the vocabulary has one, and no end token."""


def _pre_text_of_clip(text: str) -> str:
    return byte_pairs.clean(pre_text(text))


INTERNVIDEO2 = dataclasses.replace(PE_CORE, clean=_pre_text_of_clip)
"""InternVideo2-CLIP's captions and paragraphs: UMT's cleaning, then PE-Core's rule."""


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """Turns texts into ids by `rule`; the vocabulary is read at the first call.

    Attributes:
      rule: the system's rule, for example `UMT`.
      vocabulary: see `vocabulary.find`.
      length: L, number of tokens; longer texts are cut, shorter ones padded with 0.
      limit: number of rows of the network's word embedding; ids must be below it.
      key: the key under `config.data` that `length` comes from, for messages.
    """

    rule: TextRule
    vocabulary: str
    length: int
    limit: int
    key: str = "max_text_length"

    def __call__(
        self, texts: Sequence[str]
    ) -> tuple[Int32[np.ndarray, "Q L"], Bool[np.ndarray, "Q L"]]:
        """Returns (ids, mask: False on padding).

        Raises:
          UserError: if the vocabulary does not exist, has another format, or is too large.
        """
        engine = self.rule.engine(self.vocabulary)
        if engine.size > self.limit:
            raise UserError(
                f"config.data.vocabulary={self.vocabulary} has {engine.size} words, but"
                f" config.model.text.vocab_size={self.limit}; take the checkpoint's vocabulary"
            )
        start, end = (
            [engine.id_of(token)] if token else [] for token in (self.rule.start, self.rule.end)
        )
        ids = np.zeros((len(texts), self.length), np.int32)
        counts = np.zeros(len(texts), np.int32)
        for row, pieces in enumerate(engine.ids_of([self.rule.cleaned(t) for t in texts])):
            kept = (start + pieces[: self._longest] + end)[: self.length]
            ids[row, : len(kept)] = kept
            counts[row] = len(kept)
        return ids, np.arange(self.length) < counts[:, None]

    def cut(self, texts: Sequence[str]) -> int:
        """Number of texts that lose words or pieces (not counting the end); errors as in a call."""
        clean = [self.rule.clean(text) for text in texts]
        kept = [self.rule.cleaned(text) for text in texts]
        pieces = self.rule.engine(self.vocabulary).ids_of(kept)
        losses = zip(clean, kept, pieces, strict=True)
        return sum(words != some or len(ids) > self._longest for words, some, ids in losses)

    def report_cut(self, texts: Sequence[str], what: str) -> None:
        """Reports on stderr how many texts (called `what`) are cut, and by which keys."""
        if cut := self.cut(texts):
            words = f"config.data.max_words={self.rule.words} words and " if self.rule.words else ""
            limits = f"{words}config.data.{self.key}={self.length} pieces"
            print(f"{cut} of {len(texts)} {what} are cut to {limits}", file=sys.stderr)

    @property
    def _longest(self) -> int:
        """Largest number of pieces, beside the rule's start token and an end token that stays."""
        return self.length - bool(self.rule.start) - self.rule.end_stays

    def id_of(self, token: str) -> int:
        """The id of a special token, for example "[MASK]"."""
        return self.rule.engine(self.vocabulary).id_of(token)
