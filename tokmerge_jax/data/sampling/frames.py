"""Frame samplers for retrieval and question answering, all with one signature.

Sources: UMT (ICCV 2023) and vid-TLDR (CVPR 2024), frame samplers "middle" and "rand"; TempMe
(ICLR 2025), one frame per second; TESTA (EMNLP 2023), "uniform", "nlvl_uniform", "nlvl_rand",
"rand" and "headtail".
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Int64


@dataclasses.dataclass(frozen=True)
class Span:
    """The part of a video to sample from.

    Attributes:
      length: number of frames in the video, at least 1.
      rate: its frames per second.
      seconds: length of the beginning that is used, in seconds; 0 = the whole video.
    """

    length: int
    rate: float
    seconds: int | float = 0

    @property
    def used(self) -> int:
        """Number of frames in the part."""
        if not self.seconds or self.length / self.rate <= self.seconds:
            return self.length
        return max(int(self.seconds * self.rate), 1)


Sampler = Callable[[Span, int, np.random.Generator | None], np.ndarray]
"""(span, frames, rng) -> frame numbers, int64 [frames], ascending.

`frames` is the number of frames to return; `rng` is given in training. The sampler of action
recognition, `segments.Segments`, returns more numbers: several clips, and neighbours of each chosen
frame, not ascending.
"""


def sample_indices(
    length: int, frames: int, rng: np.random.Generator | None = None
) -> Int64[np.ndarray, "T"]:
    """Selects one frame from each of `frames` equal intervals of a video.

    Without `rng` (evaluation): the middle of each interval. With `rng` (training): a uniform draw
    from each interval except its last frame; if that leaves an interval empty, a sorted draw
    without replacement from the whole video. Shorter videos repeat their last chosen frame.

    Args:
      length: number of frames in the video, at least 1.
      frames: T, number of frames to select.
      rng: draws training frames.

    Returns:
      int64 [T], ascending.
    """
    count = min(frames, length)
    bounds = np.linspace(0, length, count + 1).astype(np.int64)
    start, stop = bounds[:-1], bounds[1:]
    if rng is None:
        chosen = (start + stop - 1) // 2
    elif (stop - start).min() > 1:
        chosen = rng.integers(start, stop - 1)
    else:
        return _drawn(0, length, frames, rng)
    return np.pad(chosen, (0, frames - count), mode="edge")


def _drawn(start: int, stop: int, frames: int, rng: np.random.Generator) -> Int64[np.ndarray, "T"]:
    """Draws distinct numbers in [start, stop), ascending; the last repeats if they are too few."""
    count = min(frames, stop - start)
    chosen = start + np.sort(rng.choice(stop - start, count, replace=False))
    return np.pad(chosen, (0, frames - count), mode="edge")


def strided(first: int, last: int, stride: int, frames: int) -> Int64[np.ndarray, "T"]:
    """Spreads frame numbers evenly over every `stride`-th frame from `first` to `last`, inclusive.

    If those are fewer than `frames`, the stride is ignored and the numbers are spread over all
    frames, with repeats if needed.

    Returns:
      int64 [T], ascending, T = `frames`.
    """
    candidates = np.arange(first, last + 1, stride)
    if len(candidates) >= frames:
        return candidates[np.linspace(0, len(candidates) - 1, frames).astype(np.int64)]
    return np.linspace(first, last, frames).astype(np.int64)


def by_intervals(
    span: Span, frames: int, rng: np.random.Generator | None
) -> Int64[np.ndarray, "T"]:
    """Selects one frame from each of equal intervals, at random in training (`sample_indices`)."""
    return sample_indices(span.used, frames, rng)


def by_seconds(span: Span, frames: int, rng: np.random.Generator | None) -> Int64[np.ndarray, "T"]:
    """Selects frames at whole seconds, also in training: `rng` is not used (`strided`)."""
    del rng
    end = span.length - 1
    last = int(min(span.seconds * span.rate, end)) if span.seconds else end
    return strided(0, last, max(round(span.rate), 1), frames)


def by_strides(span: Span, frames: int, rng: np.random.Generator | None) -> Int64[np.ndarray, "T"]:
    """Selects multiples of a whole stride, also in training: `rng` is not used.

    The stride is rounded down, so the end of a video is never read: at worst nearly half of it, or
    everything but the first frame if the video has fewer than `frames` frames.
    """
    del rng
    return np.arange(frames) * (span.used // frames)


def by_interval_starts(
    span: Span, frames: int, rng: np.random.Generator | None
) -> Int64[np.ndarray, "T"]:
    """Selects the first frame of each of equal intervals, also in training: `rng` is not used."""
    del rng
    return np.arange(frames) * span.used // frames


def by_ends(span: Span, frames: int, rng: np.random.Generator | None) -> Int64[np.ndarray, "T"]:
    """Selects frames evenly from the first to the last, also in training: `rng` is not used.

    A single frame is the middle one; a short video's frames repeat. Source: Perception Encoder
    (arXiv 2504.13181), its evaluation of retrieval.
    """
    del rng
    if frames == 1:
        return np.array([span.used // 2])
    return (np.arange(frames) * (span.used - 1) / (frames - 1)).astype(np.int64)


def by_random_offsets(
    span: Span, frames: int, rng: np.random.Generator | None
) -> Int64[np.ndarray, "T"]:
    """Selects as `by_interval_starts`, plus, in training, a random offset below a whole stride."""
    starts = by_interval_starts(span, frames, None)
    if rng is None:
        return starts
    return starts + rng.integers(max(span.used // frames, 1), size=frames)


def by_draws(span: Span, frames: int, rng: np.random.Generator | None) -> Int64[np.ndarray, "T"]:
    """Selects random distinct frames in training, otherwise as `by_intervals`."""
    if rng is None:
        return by_intervals(span, frames, None)
    return _drawn(0, span.used, frames, rng)


def by_draws_in_halves(
    span: Span, frames: int, rng: np.random.Generator | None
) -> Int64[np.ndarray, "T"]:
    """Selects half of the frames from each half of the video in training, else `by_intervals`."""
    if rng is None:
        return by_intervals(span, frames, None)
    used = span.used
    middle, head = used // 2, frames // 2
    first = _drawn(0, max(middle, 1), head, rng)
    return np.concatenate([first, _drawn(middle, used, frames - head, rng)])


SAMPLERS: Mapping[str, Sampler] = {
    "intervals": by_intervals,
    "seconds": by_seconds,
    "strides": by_strides,
    "ends": by_ends,
    "interval_starts": by_interval_starts,
    "random_offsets": by_random_offsets,
    "draws": by_draws,
    "draws_in_halves": by_draws_in_halves,
}
"""Value of `config.data.sampling` -> sampler."""
