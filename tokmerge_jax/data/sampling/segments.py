"""Frame samplers of action recognition: one frame per segment, with its neighbours.

Frame numbers count from 0 here, from 1 in TDS-CLIP.

Source: TDS-CLIP (2024), frame samplers of Something-Something and Kinetics; segments come from TSN
(ECCV 2016). The last two rules are those of UMT (ICCV 2023), its action recognition.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Int64

from tokmerge_jax.data.sampling.frames import Span
from tokmerge_jax.types import UserError

_WINDOW = 128  # number of frames that a dense clip spans

Rule = Callable[[int, int, int, np.random.Generator | None], np.ndarray]
"""(length, segments, clips, rng) -> frame numbers, int64.

In training (`rng` is given) [segments], otherwise [clips * segments], clip by clip.
"""


def by_segments(
    length: int, segments: int, clips: int, rng: np.random.Generator | None
) -> Int64[np.ndarray, "N"]:
    """Something-Something's rule: clip c lies (c + 1) / (clips + 1) of a segment after its start.

    In training, a uniform draw from each segment. A video with fewer frames than segments gives all
    its frames, some of them twice at random.
    """
    if rng is None:
        step = (length - 1) / segments
        later = np.floor(np.arange(1, clips + 1) * step / (clips + 1))
        return (later[:, None] + _bounds(length, segments)[None, :-1]).astype(np.int64).ravel()
    if length <= segments:
        again = rng.integers(length, size=segments - length)
        return np.sort(np.concatenate([np.arange(length), again]))
    bounds = np.arange(segments + 1) * length // segments
    return rng.integers(bounds[:-1], bounds[1:])


def by_ticks(
    length: int, segments: int, clips: int, rng: np.random.Generator | None
) -> Int64[np.ndarray, "N"]:
    """Kinetics' rule: steps of length / segments, the clips' starts spread over the first step.

    In training, a uniform draw between the bounds of each segment, both included.
    """
    if rng is not None:
        bounds = _bounds(length, segments).astype(np.int64)
        return rng.integers(bounds[:-1], bounds[1:], endpoint=True)
    tick = length / segments
    starts = np.floor(np.linspace(0, tick - 1, clips))  # -1 where frames are fewer than segments
    places = starts[:, None] + tick * np.arange(segments)[None]
    return np.trunc(places).astype(np.int64).ravel() % length


def by_windows(
    length: int, segments: int, clips: int, rng: np.random.Generator | None
) -> Int64[np.ndarray, "N"]:
    """The dense rule: even steps in windows of 128 frames, which are spread over the video.

    Shorter videos wrap around. Training draws one window. In evaluation a single window is the
    central one; the original draws it in validation and never uses one in tests.
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


def by_sparse(
    length: int, segments: int, clips: int, rng: np.random.Generator | None
) -> Int64[np.ndarray, "N"]:
    """UMT's rule for Kinetics: `by_segments` in evaluation, `by_ticks` in training."""
    rule = by_segments if rng is None else by_ticks
    return rule(length, segments, clips, rng)


def by_shifts(
    length: int, segments: int, clips: int, rng: np.random.Generator | None
) -> Int64[np.ndarray, "N"]:
    """UMT's rule for Something-Something: clip c begins c / clips of a step of length / segments.

    A single clip begins half a step later. In training, a uniform draw from each segment of the
    step's whole frames; a video with fewer frames than segments gives its first frame alone.
    """
    if rng is not None:
        step = length // segments
        return step * np.arange(segments) + rng.integers(max(step, 1), size=segments)
    step = length / segments
    starts = step * np.arange(clips) / clips if clips > 1 else np.array([step / 2])
    return (starts[:, None] + step * np.arange(segments)[None]).astype(np.int64).ravel()


RULES: Mapping[str, Rule] = {
    "segments": by_segments,
    "ticks": by_ticks,
    "windows": by_windows,
    "sparse": by_sparse,
    "shifts": by_shifts,
}
"""Value of `config.data.sampling` in action recognition -> rule."""


def neighbours(
    chosen: Int64[np.ndarray, "N"], length: int, count: int, wrap: bool
) -> Int64[np.ndarray, "N M"]:
    """Returns each frame number with its nearest neighbours, `count` in all, in temporal order.

    Numbers after the video become its last frame. Numbers before it become the first frame, or,
    with `wrap`, count back from the video's end, as in the original's reader of video files.
    """
    places = chosen[:, None] + np.arange(count)[None] - count // 2
    places = np.minimum(places, length - 1)
    return places % length if wrap else np.maximum(places, 0)


@dataclasses.dataclass(frozen=True)
class Segments:
    """The `frames.Sampler` of action recognition; its numbers are not ascending.

    Attributes:
      rule: a key of `RULES`.
      clips: C, number of clips per video in evaluation; training reads one.
      neighbours: M, number of frames read around each chosen one, itself included; odd.
      wrap: see `neighbours`; only for video files (`for_folders`).

    Raises:
      UserError: if one of them is out of range.
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
        self, span: Span, frames: int, rng: np.random.Generator | None
    ) -> Int64[np.ndarray, "N"]:
        """Returns frame numbers [C * T * M] (T = `frames`): clip by clip, neighbours together."""
        chosen = RULES[self.rule](span.used, frames, self.clips, rng)
        return neighbours(chosen, span.used, self.neighbours, self.wrap).ravel()

    def for_folders(self) -> "Segments":
        """The same sampler for folders of frames, which the original's reader never wraps."""
        return dataclasses.replace(self, wrap=False)


def _bounds(length: int, segments: int) -> np.ndarray:
    """The bounds of the segments, rounded half to even, float64 [segments + 1]."""
    return np.round((length - 1) / segments * np.arange(segments + 1))
