"""Names in any script, and names that are no text, are drawn without a warning."""

import io

import numpy as np
import pytest
from matplotlib import font_manager

from tokmerge_jax.visualize import confusion, curve, letters

NAMES = [
    "犬が走る",
    "개가 달린다 🐕",
    "ينبح الكلب",
    "क",
    "犬\u3000走\u200d",
    "not text \udcff \x00 \ue123",
]


@pytest.fixture
def two_fonts(monkeypatch):
    """A usual font of small Latin letters and boxes, and one that has a Chinese letter."""
    usual = frozenset(map(ord, "abcdefghijklmnopqrstuvwxyz □"))
    monkeypatch.setattr(letters, "_letters", lambda: iter([("", usual), ("Kanji", {ord("犬")})]))
    letters._font.cache_clear()
    yield
    letters._font.cache_clear()


@pytest.mark.usefixtures("two_fonts")
def test_each_letter_has_a_font_or_is_a_box():
    usual = font_manager.FontProperties().get_name()
    assert letters.wrapped("a 犬 ü \udcff\x00", 20) == "a 犬 □ □□"
    assert letters.wrapped("a\u200db\u00a0c", 20) == "ab c"
    assert letters.fonts("a 犬").get_family() == [usual, "Kanji"]
    assert letters.fonts("a b\nc").get_family() == [usual]


@pytest.mark.usefixtures("two_fonts")
def test_wide_letters_take_twice_the_room():
    assert letters.wrapped("abcdef gh", 6) == "abcdef\ngh"
    assert letters.wrapped("犬" * 7, 6) == "犬犬犬\n犬犬犬\n犬"
    assert letters.wrapped("one two three four", 9, most=1) == "one ..."


@pytest.mark.parametrize("name", NAMES)
def test_names_are_drawn_without_a_warning(name):
    """Warnings are errors here."""
    matrix = np.eye(2, dtype=int)
    drawn = confusion.draw(matrix, [name, "up"], [], name)
    drawn.savefig(io.BytesIO(), dpi=20)
    many = confusion.draw(
        np.eye(40, dtype=int),
        [name] * 40,
        [{"action": name, "taken_for": "up", "count": 1}],
        name,
    )
    many.savefig(io.BytesIO(), dpi=20)
    run = {
        "name": name,
        "headline": {"name": "R@1", "value": 50.0},
        "gmac": 1.0,
        "clips_per_second": 2.0,
        "tokens": [9, 9, 5],
        "protocol": {},
    }
    runs = [
        run
        | {
            "config": {
                "checkpoint": "x",
                "model": {"merger": {"name": "tome"}, "vision": {"width": width}},
            }
        }
        for width in (1, 2)
    ]
    curve.draw(runs).savefig(io.BytesIO(), dpi=20)
