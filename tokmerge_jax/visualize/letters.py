"""Draws text of every script in pictures, since names of videos and actions may not be Latin."""

import functools
import textwrap
import unicodedata
from collections.abc import Iterator

from matplotlib import font_manager
from matplotlib.figure import FigureBase
from matplotlib.font_manager import FontProperties

_MISSING = "□"  # replaces letters that no installed font has
_PLACEHOLDERS = "Last Resort"  # a font that draws every letter as a box


def put_title(figure: FigureBase, text: str, width: int, size: int = 10) -> None:
    """Puts a title above a figure, in lines of `width` letters, `size` points high."""
    lines = wrapped(text, width)
    figure.suptitle(lines, fontproperties=fonts(lines), fontsize=size, parse_math=False)


def wrapped(text: str, width: int, most: int | None = None) -> str:
    """Wraps text into lines, with a box for each letter that no installed font can draw.

    Args:
      text: the text to draw.
      width: letters per line; half as many in scripts with double-width letters.
      most: largest number of lines; text beyond it is replaced by "...".
    """
    wide = any(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    drawn = "".join(map(_drawn, text))
    lines = textwrap.wrap(drawn, width // 2 if wide else width, max_lines=most, placeholder=" ...")
    return "\n".join(lines)


def fonts(text: str) -> FontProperties:
    """The default font, then fonts that have the other letters of a `wrapped` text."""
    others = dict.fromkeys(filter(None, map(_font, text)))
    return FontProperties(family=[FontProperties().get_name(), *others])


def _drawn(letter: str) -> str:
    """The character that is drawn for a letter."""
    kind = unicodedata.category(letter)
    if kind in ("Zs", "Cf"):  # spaces of any width; invisible joiners and direction marks
        return " " if kind == "Zs" else ""
    return letter if _font(letter) is not None else _MISSING


@functools.cache
def _font(letter: str) -> str | None:
    """The name of a font that has the letter, "" for the default one; None if none has it."""
    if letter == "\n":
        return ""
    if not letter.isprintable():
        return None
    names = (name for name, letters in _letters() if ord(letter) in letters)
    return next(names, None)


def _letters() -> Iterator[tuple[str, frozenset[int]]]:
    """Yields (font name, its letters); the first name is "", for the default font."""
    yield "", _letters_of(font_manager.findfont(FontProperties()))
    for entry in sorted(font_manager.fontManager.ttflist, key=lambda entry: entry.name):
        if not entry.name.startswith(_PLACEHOLDERS):
            yield entry.name, _letters_of(entry.fname)


@functools.cache
def _letters_of(file: str) -> frozenset[int]:
    try:
        return frozenset(font_manager.get_font(file).get_charmap())
    except (OSError, RuntimeError):  # the font was removed after listing, or is a bitmap font
        return frozenset()
