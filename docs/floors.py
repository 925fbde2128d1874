"""Draws docs/floors.png: the rooms of the package, by the import contract in pyproject.toml.

Example:
  python docs/floors.py

Each box is a room, with the summary line of its docstring; a room may import from the floors below
its own only.
"""

import ast
import json
import pathlib
import textwrap
import tomllib
from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]
TARGET = ROOT / "docs" / "floors.png"
_WIDTH, _GAP = 14.0, 0.12  # inches


def floors() -> list[list[str]]:
    """Names of the rooms, floor by floor from the top, as import-linter reads them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (each["layers"] for each in contracts["contracts"] if each["type"] == "layers")
    return [[name.strip() for name in layer.split("|")] for layer in layers]


def drawn() -> list[list[str]]:
    """The floors that the picture shows: they are kept in its file."""
    with Image.open(TARGET) as picture:
        return json.loads(picture.info["Description"])


def summary(room: str) -> str:
    """The first sentence of a room's docstring."""
    place = ROOT / "tokmerge_jax" / room
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    paragraph = " ".join(text.partition("\n\n")[0].replace("`", "").split())
    return paragraph.partition(". ")[0].removesuffix(".")


def texts(rooms: Sequence[str]) -> list[str]:
    """What the boxes of one floor say, as lines that fit."""
    letters = int(width(rooms) * 11)
    return ["\n".join(textwrap.wrap(summary(room), letters)) for room in rooms]


def width(rooms: Sequence[str]) -> float:
    """The width of each box of a floor."""
    return (_WIDTH - _GAP * (len(rooms) - 1)) / len(rooms)


def draw_floor(axes: Axes, rooms: Sequence[str], top: float, height: float) -> None:
    """Draws the rooms of one floor side by side."""
    for place, (room, text) in enumerate(zip(rooms, texts(rooms), strict=True)):
        left = place * (width(rooms) + _GAP)
        corner = left, top - height
        axes.add_patch(Rectangle(corner, width(rooms), height, fc="#eef3f8", ec="#6b8fb3"))
        axes.text(left + 0.1, top - 0.08, room, va="top", weight="bold", size=12)
        axes.text(left + 0.1, top - 0.34, text, va="top", size=10, linespacing=1.25)


def draw() -> None:
    """Draws all floors, the highest at the top."""
    layers = floors()
    heights = [0.42 + 0.19 * max(text.count("\n") + 1 for text in texts(each)) for each in layers]
    top = sum(heights) + _GAP * len(layers)
    figure = plt.figure(figsize=(_WIDTH + 2 * _GAP, top + _GAP))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(-_GAP, _WIDTH + _GAP), ylim=(0.0, top + _GAP))
    axes.axis("off")
    for rooms, height in zip(layers, heights, strict=True):
        draw_floor(axes, rooms, top, height)
        top -= height + _GAP
    figure.savefig(TARGET, dpi=80, metadata={"Description": json.dumps(layers)})


if __name__ == "__main__":
    draw()
