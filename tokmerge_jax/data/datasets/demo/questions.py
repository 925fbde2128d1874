"""The demo's questions about clips of `scene`, and the answers to choose from.

There are five questions per clip: colour, shape, direction, count and order. Each describes an
event just enough to distinguish it from the other one. Everything is a pure function of a story and
a generator.
"""

import itertools
from collections.abc import Callable, Mapping

import numpy as np

from tokmerge_jax.data.datasets.demo.scene import COLOURS, DIRECTIONS, SHAPES, Event, Story

NUMBERS = ("zero", "one", "two")

ANSWERS: tuple[str, ...] = (
    *COLOURS,
    *SHAPES,
    *DIRECTIONS,
    *NUMBERS,
    "yes",
    "no",
    *(f"{colour} {shape}" for colour, shape in itertools.product(COLOURS, SHAPES)),
)
"""The answers to choose from, the same for every question."""

Asked = tuple[str, str]
"""A question and its answer."""


def ask(story: Story, rng: np.random.Generator) -> dict[str, Asked]:
    """Kind -> (question, answer) about a story; `rng` chooses the event that is asked about."""
    return {kind: question(story, rng) for kind, question in _KINDS.items()}


def _colour(story: Story, rng: np.random.Generator) -> Asked:
    event, clause = _named(story, rng, ("shape", "direction"))
    return f"what colour is the {clause}?", event.colour


def _shape(story: Story, rng: np.random.Generator) -> Asked:
    event, clause = _named(story, rng, ("colour", "direction"))
    return f"what is the {clause}?", event.shape


def _direction(story: Story, rng: np.random.Generator) -> Asked:
    event, clause = _named(story, rng, ("colour", "shape"))
    return f"which way does the {clause} move?", event.direction


def _count(story: Story, rng: np.random.Generator) -> Asked:
    part = str(rng.choice(["colour", "shape", "direction"]))
    values = {"colour": COLOURS, "shape": SHAPES, "direction": DIRECTIONS}[part]
    shown = [getattr(event, part) for event in story]
    value = str(rng.choice([*shown, *shown, *values]))
    plural = f"{value}es" if value.endswith("s") else f"{value}s"
    what = {"colour": f"{value} shapes", "shape": plural, "direction": "shapes"}[part]
    where = f" move {value}" if part == "direction" else " are there"
    return f"how many {what}{where}?", NUMBERS[shown.count(value)]


def _order(story: Story, rng: np.random.Generator) -> Asked:
    if rng.random() < 0.5:
        place = int(rng.integers(2))
        return f"what moves {('first', 'last')[place]}?", _pair(story[place])
    first, second = rng.permutation(2)
    question = f"does the {_pair(story[first])} move before the {_pair(story[second])}?"
    if _pair(story[0]) == _pair(story[1]):
        return f"what moves {('first', 'last')[first]}?", _pair(story[first])
    return question, "yes" if first == 0 else "no"


_KINDS: Mapping[str, Callable[[Story, np.random.Generator], Asked]] = {
    "colour": _colour,
    "shape": _shape,
    "direction": _direction,
    "count": _count,
    "order": _order,
}


def _pair(event: Event) -> str:
    return f"{event.colour} {event.shape}"


def _named(story: Story, rng: np.random.Generator, parts: tuple[str, ...]) -> tuple[Event, str]:
    """Draws an event, and words that mean only it: a part that differs, or its place in time."""
    place = int(rng.integers(2))
    event, other = story[place], story[1 - place]
    distinctive = [part for part in parts if getattr(event, part) != getattr(other, part)]
    part = str(rng.choice([*distinctive, "order"]))
    return event, {
        "colour": f"{event.colour} shape",
        "shape": event.shape,
        "direction": f"shape that moves {event.direction}",
        "order": f"{('first', 'last')[place]} shape",
    }[part]
