"""Letters of every script in pictures: names of videos and actions are not all Latin."""

import functools
import textwrap
import unicodedata
from collections.abc import Iterator

from matplotlib import font_manager
from matplotlib.figure import FigureBase
from matplotlib.font_manager import FontProperties

_MISSING = "□"  # for letters that no font here has
_PLACEHOLDERS = "Last Resort"  # a font of boxes, which has every letter and shows none


def put_title(figure: FigureBase, text: str, width: int, size: int = 10) -> None:
    """Puts a text above a figure, in lines of `width` letters, `size` points high."""
    lines = wrapped(text, width)
    figure.suptitle(lines, fontproperties=fonts(lines), fontsize=size, parse_math=False)


def wrapped(text: str, width: int, most: int | None = None) -> str:
    """The text in lines, with a box for each letter that no installed font can draw.

    Args:
      text: to be drawn.
      width: letters of a line; half as many of scripts whose letters are twice as wide.
      most: number of lines; what does not fit is left out, "..." in its place.
    """
    wide = any(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    drawn = "".join(map(_drawn, text))
    lines = textwrap.wrap(drawn, width // 2 if wide else width, max_lines=most, placeholder=" ...")
    return "\n".join(lines)


def fonts(text: str) -> FontProperties:
    """The usual font, then those that have the other letters of a `wrapped` text."""
    others = dict.fromkeys(filter(None, map(_font, text)))
    return FontProperties(family=[FontProperties().get_name(), *others])


def _drawn(letter: str) -> str:
    """What is drawn in the place of a letter."""
    kind = unicodedata.category(letter)
    if kind in ("Zs", "Cf"):  # spaces of every width; joins and directions, which show nothing
        return " " if kind == "Zs" else ""
    return letter if _font(letter) is not None else _MISSING


@functools.cache
def _font(letter: str) -> str | None:
    """The name of a font that has the letter, "" for the usual one; None if there is none."""
    if letter == "\n":
        return ""
    if not letter.isprintable():
        return None
    names = (name for name, letters in _letters() if ord(letter) in letters)
    return next(names, None)


def _letters() -> Iterator[tuple[str, frozenset[int]]]:
    """The fonts' names, "" first for the usual one, and the letters of each."""
    yield "", _letters_of(font_manager.findfont(FontProperties()))
    for entry in sorted(font_manager.fontManager.ttflist, key=lambda entry: entry.name):
        if not entry.name.startswith(_PLACEHOLDERS):
            yield entry.name, _letters_of(entry.fname)


@functools.cache
def _letters_of(file: str) -> frozenset[int]:
    try:
        return frozenset(font_manager.get_font(file).get_charmap())
    except (OSError, RuntimeError):  # removed since fonts were listed, or of bitmaps
        return frozenset()
