"""Draws the demo's clips: the events of a clip, the sentence about them, and the pixels.

A clip shows one event after the other: a coloured shape appears, moves in a straight line and
disappears. Neither a frame nor an unordered set of frames shows which event came first or which way
a shape moved, so retrieval needs the order of time; the background texture is independent of the
events. Everything is a pure function of a seed, in NumPy.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8

EVENT_FRAMES = 8
EDGE = 96
"""Number of frames per event, and edge of a frame in pixels."""

COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (220, 30, 30),
    "green": (30, 180, 40),
    "blue": (40, 60, 235),
    "yellow": (240, 220, 30),
    "purple": (165, 40, 200),
    "white": (250, 250, 250),
}
RADII: Mapping[str, float] = {"small": 14.0, "large": 25.0}
DIRECTIONS: Mapping[str, tuple[int, int]] = {
    "left": (0, -1),
    "right": (0, 1),
    "up": (-1, 0),
    "down": (1, 0),
}
SHAPES = ("circle", "square", "triangle", "cross")

_TRAVEL = 44.0  # pixels between a shape's first and last centre
_TEST_CAPTIONS_SEED = 2024


@dataclasses.dataclass(frozen=True)
class Event:
    """One shape's movement: keys of `RADII`, `COLOURS` and `DIRECTIONS`, one of `SHAPES`."""

    size: str
    colour: str
    shape: str
    direction: str

    def __str__(self) -> str:
        return f"a {self.size} {self.colour} {self.shape} moves {self.direction}"


EVENTS = tuple(Event(*parts) for parts in itertools.product(RADII, COLOURS, SHAPES, DIRECTIONS))
Story = tuple[Event, Event]


def caption(story: Story) -> str:
    """The sentence that describes a story's two events in their order."""
    first, second = story
    return f"{first}, then {second}"


def _random_story(rng: np.random.Generator) -> Story:
    first, second = rng.choice(len(EVENTS), size=2, replace=False)
    return EVENTS[first], EVENTS[second]


def test_stories(count: int) -> list[Story]:
    """Draws `count` (even) different stories for the test split, each followed by its reverse."""
    rng = np.random.default_rng(_TEST_CAPTIONS_SEED)
    stories: dict[Story, None] = {}
    while len(stories) < count:
        first, second = _random_story(rng)
        stories.update({(first, second): None, (second, first): None})
    return list(stories)


def train_story(seed: tuple[int, ...], held_out: frozenset[Story]) -> Story:
    """Draws a story from `seed`, never one that is `held_out` for the test."""
    rng = np.random.default_rng(seed)
    while (story := _random_story(rng)) in held_out:
        pass
    return story


def twins(seed: tuple[int, ...], held_out: frozenset[Story]) -> list[Story]:
    """Draws four stories of the same two shapes from `seed`, none of them `held_out` for the test.

    There are two, which differ in both directions, each in both orders: only movement tells them
    apart.
    """
    rng = np.random.default_rng(seed)
    while True:
        story = _random_story(rng)
        turned = _turned(story[0], rng), _turned(story[1], rng)
        stories = [story, story[::-1], turned, turned[::-1]]
        if len(set(stories)) == len(stories) and held_out.isdisjoint(stories):
            return stories


def _turned(event: Event, rng: np.random.Generator) -> Event:
    others = [direction for direction in DIRECTIONS if direction != event.direction]
    return dataclasses.replace(event, direction=str(rng.choice(others)))


def _distance(shape: str, y: np.ndarray, x: np.ndarray, radius: float) -> np.ndarray:
    """Approximate signed distance in pixels from each point to a shape's edge; negative inside."""
    across, along = np.abs(x), np.abs(y)
    if shape == "circle":
        return np.hypot(x, y) - radius
    if shape == "square":
        return np.maximum(across, along) - 0.88 * radius
    if shape == "triangle":
        return np.maximum(y - 0.75 * radius, 0.48 * (2 * across - y - radius))
    arm, half_width = radius, 0.33 * radius
    bars = np.minimum(
        np.maximum(across - arm, along - half_width), np.maximum(along - arm, across - half_width)
    )
    return bars


def _interpolation(cells: int, offsets: np.ndarray) -> np.ndarray:
    """Linear weights [T,EDGE,cells] that stretch `cells` grid values over a moving frame edge."""
    place = np.arange(EDGE) / EDGE * (cells - 3) + 1 + offsets[:, None]
    return np.clip(1 - np.abs(place[..., None] - np.arange(cells)), 0, 1)


def _texture(rng: np.random.Generator, frames: int, cells: int) -> Float[np.ndarray, "T H W C"]:
    """A smooth random pattern that drifts by less than one of its cells over the clip."""
    grid = rng.normal(size=(cells, cells, 3)) * 0.4 + rng.normal(size=(cells, cells, 1))
    drift = np.linspace(-0.5, 0.5, frames)[:, None] * rng.uniform(-1, 1, size=2)
    rows, columns = (_interpolation(cells, drift[:, axis]) for axis in (0, 1))
    return np.einsum("thi,ijc,twj->thwc", rows, grid, columns, optimize=True)


def background(rng: np.random.Generator, frames: int) -> Float[np.ndarray, "T H W 3"]:
    """Draws `frames` frames of tinted texture, with values from 0 to 255."""
    tint = rng.uniform(85, 140) + rng.uniform(-8, 8, size=3)
    return tint + 12 * _texture(rng, frames, 8) + 8 * _texture(rng, frames, 24)


def paint(
    frames: Float[np.ndarray, "T H W 3"],
    shape: str,
    colour: Float[np.ndarray, "3"],
    radius: float,
    centres: Float[np.ndarray, "T 2"],
) -> None:
    """Draws a shape with smooth edges into `frames`, in place, at its centre in each frame."""
    y = np.arange(EDGE)[:, None] - centres[:, 0, None, None]
    x = np.arange(EDGE)[None, :] - centres[:, 1, None, None]
    alpha = np.clip(0.5 - _distance(shape, y, x, radius), 0, 1)[..., None]
    frames += alpha * (colour - frames)


def shade(colour: str, rng: np.random.Generator) -> Float[np.ndarray, "3"]:
    """Draws an RGB shade near a named colour."""
    return np.clip(np.asarray(COLOURS[colour]) + rng.uniform(-12, 12, size=3), 0, 255)


def pixels(frames: Float[np.ndarray, "T H W 3"]) -> UInt8[np.ndarray, "T H W 3"]:
    """Rounds and clips frames to uint8."""
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


def draw(
    story: Sequence[Event], seed: tuple[int, ...], lengths: Sequence[int] = ()
) -> UInt8[np.ndarray, "T H W 3"]:
    """Draws the RGB clip of a story.

    Args:
      story: the events in their order.
      seed: places, speeds, shades and background follow from it.
      lengths: number of frames of each event; () = `EVENT_FRAMES` each.
    """
    rng = np.random.default_rng(seed)
    lengths = lengths or [EVENT_FRAMES] * len(story)
    frames = background(rng, sum(lengths))
    for event, shown in zip(story, np.split(frames, np.cumsum(lengths[:-1])), strict=True):
        heading = np.asarray(DIRECTIONS[event.direction])
        middle = EDGE / 2 + rng.uniform(-1, 1, size=2) * np.where(heading, 6, 18)
        steps = np.linspace(-0.5, 0.5, len(shown)) * _TRAVEL * rng.uniform(0.85, 1.15)
        radius = RADII[event.size] * rng.uniform(0.93, 1.07)
        colour = shade(event.colour, rng)
        paint(shown, event.shape, colour, radius, middle + steps[:, None] * heading)
    return pixels(frames)
