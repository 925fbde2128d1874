"""Draws the demo's actions: the places of two shapes in each frame, and the pixels.

One shape acts; the other stands still or is moved. Actions come in pairs, and one of a pair is the
other run backwards: the same frames in reverse order. So neither a frame nor an unordered set of
frames distinguishes the two; colours, shapes and background texture are independent of the action.
Everything is a pure function of a seed, in NumPy.
"""

import functools
from collections.abc import Callable, Mapping

import numpy as np
from einops import repeat
from jaxtyping import Float, UInt8

from tokmerge_jax.data.datasets.demo import scene
from tokmerge_jax.data.datasets.demo.scene import COLOURS, DIRECTIONS, EDGE, SHAPES

FRAMES = 40
"""Number of frames per clip."""

_RADIUS = 10.0, 13.0  # pixels
_MOVING = 0.6, 0.95  # share of the clip with motion; before and after it, all stands still
_TRAVEL = 36.0, 44.0  # pixels; the most that a frame has room for, given the largest shapes

Path = Float[np.ndarray, "T 2"]
"""The places (row, column) of a shape's centre, in pixels."""

Motion = Callable[[np.random.Generator, Float[np.ndarray, "T"], float], tuple[Path, Path]]
"""`(rng, progress, apart)` -> paths of the acting and the other shape, from any origin.

`progress` [T] rises from 0 to 1; two shapes touch if their centres are `apart` pixels apart.
"""


def _passing(
    way: str, rng: np.random.Generator, progress: np.ndarray, apart: float
) -> tuple[Path, Path]:
    """The acting shape moves straight past the other one."""
    heading = np.asarray(DIRECTIONS[way])
    aside = heading[::-1] * rng.choice((-1, 1)) * (apart + rng.uniform(3, 12))
    other = aside + heading * rng.uniform(-20, 20)
    path = heading * (progress[:, None] - 0.5) * rng.uniform(*_TRAVEL) * 1.3
    return path, repeat(other, "d -> t d", t=len(path))


def _coming(rng: np.random.Generator, progress: np.ndarray, apart: float) -> tuple[Path, Path]:
    """The acting shape moves up to the other one, in any direction."""
    heading = _round(rng.uniform(0, 2 * np.pi))
    travel = rng.uniform(*_TRAVEL)
    path = heading * progress[:, None] * travel
    return path, repeat(heading * (travel + apart), "d -> t d", t=len(path))


def _pushing(rng: np.random.Generator, progress: np.ndarray, apart: float) -> tuple[Path, Path]:
    """The acting shape moves up to the other one and pushes it along."""
    heading = _round(rng.uniform(0, 2 * np.pi))
    covered = progress[:, None] * rng.uniform(*_TRAVEL)
    pushed = np.maximum(covered, covered[-1] * rng.uniform(0.35, 0.6)) + apart
    return heading * covered, heading * pushed


def _circling(rng: np.random.Generator, progress: np.ndarray, apart: float) -> tuple[Path, Path]:
    """The acting shape moves clockwise around the other one, by a half turn or more."""
    angles = rng.uniform(0, 2 * np.pi) + progress * rng.uniform(1, 1.6) * np.pi
    path = _round(angles) * (apart + rng.uniform(1, 5))
    return path, np.zeros_like(path)


_MOTIONS: Mapping[tuple[str, str], Motion] = {
    ("moves left", "moves right"): functools.partial(_passing, "left"),
    ("moves up", "moves down"): functools.partial(_passing, "up"),
    ("comes to a shape", "leaves a shape"): _coming,
    ("pushes a shape", "drags a shape and lets go"): _pushing,
    ("circles clockwise", "circles counter-clockwise"): _circling,
}
"""Names of two actions -> motion of the first; the second is the same motion backwards."""

NAMES: tuple[str, ...] = tuple(name for pair in _MOTIONS for name in pair)
"""Names of the actions by number; action `n ^ 1` is action n backwards."""

MIRRORED: Mapping[int, int] = {
    NAMES.index(name): NAMES.index(other)
    for pair in (("moves left", "moves right"), ("circles clockwise", "circles counter-clockwise"))
    for name, other in (pair, pair[::-1])
}
"""Action -> action of its mirror image; the others are their own mirror images."""


def places(
    action: int, rng: np.random.Generator, radii: Float[np.ndarray, "2"]
) -> Float[np.ndarray, "2 T 2"]:
    """Returns the paths of the acting and the other shape, entirely within the frames.

    Args:
      action: an index into `NAMES`.
      rng: draws the place, the speed and the beginning of the motion.
      radii: radii of the two shapes in pixels, within `_RADIUS`.
    """
    moving = round(rng.uniform(*_MOVING) * FRAMES)
    begin = rng.integers(FRAMES - moving, endpoint=True)
    progress = np.clip((np.arange(FRAMES) - begin) / (moving - 1), 0, 1)
    motion = list(_MOTIONS.values())[action // 2]
    paths = np.stack(motion(rng, progress, radii.sum()))
    room = radii.max() - paths.min((0, 1)), EDGE - radii.max() - paths.max((0, 1))
    paths += rng.uniform(*room)
    return paths[:, ::-1] if action % 2 else paths


def draw(action: int, seed: tuple[int, ...]) -> UInt8[np.ndarray, "T H W 3"]:
    """Draws an RGB clip of `NAMES[action]`; all else follows from `seed`.

    With the same seed, the clip of an action's partner is the same clip backwards.
    """
    rng = np.random.default_rng(seed)
    radii = rng.uniform(*_RADIUS, size=2)
    paths = places(action, rng, radii)
    frames = scene.background(rng, FRAMES)
    frames = frames[::-1] if action % 2 else frames
    shapes = rng.choice(SHAPES, size=2)
    colours = rng.choice(list(COLOURS), size=2, replace=False)
    for i in (1, 0):  # the acting one is in front
        shade = scene.shade(colours[i], rng)
        scene.paint(frames, shapes[i], shade, radii[i], paths[i])
    return scene.pixels(frames)


def _round(angles: np.ndarray | float) -> np.ndarray:
    """Unit vectors (row, column); a rising angle turns clockwise."""
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1)
