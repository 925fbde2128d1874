"""CLIP's byte-pair encoding: texts to ids by a list of merges.

Source: CLIP (ICML 2021). A text is cleaned (`clean`), split into words, numerals and runs of
symbols, and each part's UTF-8 bytes are merged pair by pair, in the order of the list.
"""

import functools
import gzip
import hashlib
import html
import pathlib
import zlib
from collections.abc import Sequence

import ftfy
import regex
from tokenizers import models

from tokmerge_jax.data.text import vocabulary
from tokmerge_jax.types import UserError

START, END = "<|startoftext|>", "<|endoftext|>"
PLAIN_START, PLAIN_END = "<start_of_text>", "<end_of_text>"
"""The special tokens of open_clip's tokenizer, in the places of `START` and `END`."""

_MERGES = 48_894  # the original's file holds more, which are not used
_MERGES_SHA256 = "f61f2adf497e6f5357c347aeb4646fabe82f341e946de5bdec5d2858e41bef4a"  # CLIP's lines
_PARTS_KEPT = 2**15  # cached words: words repeat, and merging one takes ten times as long
_WORD_END = "</w>"
_SPACE = regex.compile(r"\s+")
_PART = r"'(?:s|t|re|ve|m|ll|d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"

# Each byte as one visible character, in the order of their ids.
_VISIBLE = (*range(33, 127), *range(161, 173), *range(174, 256))
_HIDDEN = sorted({*range(256)} - {*_VISIBLE})
_SYMBOLS = {byte: chr(byte) for byte in _VISIBLE} | {
    byte: chr(256 + place) for place, byte in enumerate(_HIDDEN)
}
_SINGLES = tuple(symbol + end for end in ("", _WORD_END) for symbol in _SYMBOLS.values())


def clean(text: str) -> str:
    """CLIP's cleaning: repairs text and HTML entities, collapses white space, lowers case."""
    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    return _SPACE.sub(" ", text).strip().lower()


class BytePairs:
    """A byte-pair encoder for one list of merges.

    Ids: 256 bytes, 256 bytes that end a part, the merged strings in order, the special tokens.

    Args:
      merges: pairs of known strings; each merge makes a new string, which later pairs may use.
      special: the tokens at the start and the end of a text.
    """

    def __init__(self, merges: Sequence[tuple[str, str]], special: tuple[str, str] = (START, END)):
        names = [*_SINGLES, *(first + second for first, second in merges), *special]
        self._special = special
        self._part = regex.compile("|".join([*map(regex.escape, special), _PART]), regex.IGNORECASE)
        self._ids = {name: i for i, name in enumerate(names)}
        self._model = models.BPE(self._ids, list(merges), end_of_word_suffix=_WORD_END)
        self._ids_of_part = functools.lru_cache(_PARTS_KEPT)(self._merged)

    @property
    def size(self) -> int:
        """Number of ids."""
        return len(self._ids)

    def id_of(self, token: str) -> int:
        """The id of one token, for example `START`."""
        return self._ids[token]

    def ids_of(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of cleaned texts, without special tokens but those in the texts."""
        return [
            [i for part in self._part.findall(text) for i in self._ids_of_part(part)]
            for text in texts
        ]

    def _merged(self, part: str) -> tuple[int, ...]:
        if part in self._special:
            return (self._ids[part],)
        symbols = part.encode().decode("latin-1").translate(_SYMBOLS)
        return tuple(token.id for token in self._model.tokenize(symbols))


@functools.cache
def byte_pairs(name: str, special: tuple[str, str] = (START, END)) -> BytePairs:
    """CLIP's byte-pair encoder with the vocabulary `name` (see `vocabulary.find`).

    Raises:
      UserError: if there is no such vocabulary, or it is not a list of merges.
    """
    path = vocabulary.find(name)
    header, *lines = _lines(path)
    if "#version" not in header:
        raise UserError(f"{path} is no list of byte-pair merges: its first line has no '#version'")
    merges: list[tuple[str, str]] = []
    known = set(_SINGLES)
    for number, line in enumerate(lines[:_MERGES], start=2):
        pair = line.split()
        if len(pair) != 2 or not known.issuperset(pair) or "".join(pair) in known:
            raise UserError(
                f"{path} is no list of byte-pair merges: line {number}, {line!r}, does not make a "
                "new string of two known ones"
            )
        merges.append((pair[0], pair[1]))
        known.add("".join(pair))
    content = "\n".join(map(" ".join, merges))
    if name == "clip" and hashlib.sha256(content.encode()).hexdigest() != _MERGES_SHA256:
        raise UserError(f"{path} does not hold the {_MERGES} merges of CLIP; remove it")
    return BytePairs(merges, special)


def _lines(path: pathlib.Path) -> list[str]:
    data = path.read_bytes()
    try:
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
        return data.decode().rstrip().split("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no list of byte-pair merges: {error}") from error
