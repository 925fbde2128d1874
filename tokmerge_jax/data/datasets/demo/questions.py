"""The demo's questions: what is asked about a clip of `demo_scene`, and the answers to choose from.

Five questions a clip: colour, shape, direction, count and order. Each names as much of an event as
tells it from the other one. Everything is a pure function of a story and a generator.
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
"""All answers, for every question to choose from."""

Asked = tuple[str, str]
"""A question and its answer."""


def ask(story: Story, rng: np.random.Generator) -> dict[str, Asked]:
    """The questions about a story by their kind; `rng` chooses what they are about."""
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
    """An event and words that mean it alone: one of `parts` that differs, or its place in time."""
    place = int(rng.integers(2))
    event, other = story[place], story[1 - place]
    telling = [part for part in parts if getattr(event, part) != getattr(other, part)]
    part = str(rng.choice([*telling, "order"]))
    return event, {
        "colour": f"{event.colour} shape",
        "shape": event.shape,
        "direction": f"shape that moves {event.direction}",
        "order": f"{('first', 'last')[place]} shape",
    }[part]
