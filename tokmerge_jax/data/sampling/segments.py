"""Which frames of a video action recognition reads: one of each segment, and its neighbours.

Frame numbers count from 0 here, from 1 in the original.

Source: TDS-CLIP (2024), frame samplers of Something-Something and Kinetics; segments are TSN's
(ECCV 2016).
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Int64

from tokmerge_jax.data.sampling.frames import trimmed_length
from tokmerge_jax.types import UserError

_WINDOW = 128  # frames that a dense clip spans

Rule = Callable[[int, int, int, np.random.Generator | None], np.ndarray]
"""(length, segments, clips, rng) -> frame numbers: with `rng`, which is given in training, int64
[segments], else int64 [clips * segments], one clip after the other. One clip is validation's.
"""


def by_segments(
    length: int, segments: int, clips: int, rng: np.random.Generator | None
) -> Int64[np.ndarray, "N"]:
    """Something-Something's: clip c is (c + 1) / (clips + 1) of a segment behind the starts.

    In training a draw from all of each segment; of a video that has no more frames than there are
    segments all frames, and random ones of them again.
    """
    if rng is not None:
        return _draws_from_segments(length, segments, rng)
    step = (length - 1) / segments
    later = np.floor(np.arange(1, clips + 1) * step / (clips + 1))
    return (later[:, None] + _bounds(length, segments)[None, :-1]).astype(np.int64).ravel()


def by_ticks(
    length: int, segments: int, clips: int, rng: np.random.Generator | None
) -> Int64[np.ndarray, "N"]:
    """Kinetics': even steps of length / segments, the clips' starts spread over the first step.

    In training a draw between the bounds of each segment, both of which may come up.
    """
    if rng is not None:
        bounds = _bounds(length, segments).astype(np.int64)
        return rng.integers(bounds[:-1], bounds[1:], endpoint=True)
    tick = length / segments
    starts = np.floor(np.linspace(0, tick - 1, clips))  # -1 where a video is shorter than segments
    places = starts[:, None] + tick * np.arange(segments)[None]
    return np.trunc(places).astype(np.int64).ravel() % length


def by_windows(
    length: int, segments: int, clips: int, rng: np.random.Generator | None
) -> Int64[np.ndarray, "N"]:
    """Dense: even steps in windows of 128 frames, which are spread over the video.

    Shorter videos begin anew at their end. The one window of training is drawn; a single one of
    evaluation, which the original draws in validation and has not in tests, is the middle one.
    """
    spare = max(0, length - _WINDOW)
    if rng is not None:
        starts = rng.integers(max(spare, 1), size=1)
    elif clips == 1:
        starts = np.array([spare // 2])
    else:
        starts = np.arange(clips) * (spare // (clips - 1))
    places = starts[:, None] + _WINDOW // segments * np.arange(segments)[None]
    return places.ravel() % length


RULES: Mapping[str, Rule] = {
    "segments": by_segments,
    "ticks": by_ticks,
    "windows": by_windows,
}
"""By the names that configurations of action recognition give to `config.data.sampling`."""


def neighbours(
    chosen: Int64[np.ndarray, "N"], length: int, count: int, wrap: bool
) -> Int64[np.ndarray, "N M"]:
    """For each frame number it and its nearest ones, `count` in all, in the order of time.

    What would lie after the video is its last frame. What would lie before it is the first, or,
    with `wrap`, counted back from the video's end, as the original's reader of video files does.
    """
    places = chosen[:, None] + np.arange(count)[None] - count // 2
    places = np.minimum(places, length - 1)
    return places % length if wrap else np.maximum(places, 0)


@dataclasses.dataclass(frozen=True)
class Segments:
    """A `frames.Sampler` of action recognition, whose numbers need not ascend.

    Attributes:
      rule: a key of `RULES`.
      clips: C, how many clips of a video evaluation reads; training reads one.
      neighbours: M, frames that are read around each chosen one; odd.
      wrap: see `neighbours`; of video files only (`for_folders`).

    Raises:
      UserError: if one of them cannot be.
    """

    rule: str
    clips: int = 1
    neighbours: int = 5
    wrap: bool = False

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise UserError(
                f"config.data.sampling={self.rule!r} is unknown; known: {', '.join(RULES)}"
            )
        if self.clips < 1:
            raise UserError(f"config.data.clips={self.clips} must be 1 or more")
        if self.neighbours < 1 or self.neighbours % 2 == 0:
            raise UserError(f"config.data.neighbours={self.neighbours} must be an odd number")

    def __call__(
        self,
        length: int,
        rate: float,
        frames: int,
        seconds: int | float,
        rng: np.random.Generator | None,
    ) -> Int64[np.ndarray, "N"]:
        """Numbers [C * T * M], T = `frames` segments; clip by clip, neighbours together."""
        length = trimmed_length(length, rate, seconds)
        chosen = RULES[self.rule](length, frames, self.clips, rng)
        return neighbours(chosen, length, self.neighbours, self.wrap).ravel()

    def for_folders(self) -> "Segments":
        """The same for folders of frames, which the original's reader never wraps."""
        return dataclasses.replace(self, wrap=False)


def _bounds(length: int, segments: int) -> np.ndarray:
    """Where segments begin, and the last one ends, rounded half to even; float64."""
    return np.round((length - 1) / segments * np.arange(segments + 1))


def _draws_from_segments(
    length: int, segments: int, rng: np.random.Generator
) -> Int64[np.ndarray, "N"]:
    if length <= segments:
        again = rng.integers(length, size=segments - length)
        return np.sort(np.concatenate([np.arange(length), again]))
    bounds = np.arange(segments + 1) * length // segments
    return rng.integers(bounds[:-1], bounds[1:])
