"""Which frames of a video are looked at: one rule per family of systems, all called alike.

Sources: UMT (ICCV 2023) and vid-TLDR (CVPR 2024), frame samplers "middle" and "rand"; TempMe
(ICLR 2025), one frame a second.
"""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Int64

Sampler = Callable[[int, float, int, int | float, np.random.Generator | None], np.ndarray]
"""(length, rate, frames, seconds, rng) -> frame numbers, int64 [frames], ascending.

`length` is the video's number of frames, at least 1; `rate` its frames a second; `frames` how many
are wanted; `seconds` how much of its beginning counts, 0 = all of it; `rng` is given in training.
"""


def sample_indices(
    length: int, frames: int, rng: np.random.Generator | None = None
) -> Int64[np.ndarray, "T"]:
    """Frame numbers, one from each of `frames` equal intervals of a video.

    Without `rng` the middle of each interval (evaluation). With `rng` a uniform draw from all of an
    interval but its last frame (training); if that leaves an interval empty, a sorted draw
    without replacement from the whole video. Shorter videos repeat their last chosen frame.

    Args:
      length: frames of the video, at least 1.
      frames: T, how many are wanted.
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
        chosen = np.sort(rng.choice(length, count, replace=False))
    return np.pad(chosen, (0, frames - count), mode="edge")


def trimmed_length(length: int, rate: float, seconds: int | float) -> int:
    """Frames that count if only the first `seconds` of a video do (0 = all), at `rate` a second."""
    if not seconds or length / rate <= seconds:
        return length
    return max(int(seconds * rate), 1)


def strided(first: int, last: int, stride: int, frames: int) -> Int64[np.ndarray, "T"]:
    """Frame numbers spread over every `stride`-th frame from `first` to `last` (counted in).

    If there are fewer than `frames` of those, the stride is ignored and the numbers are spread over
    all frames, with repeats where even those are too few.

    Returns:
      int64 [T], ascending, T = `frames`.
    """
    candidates = np.arange(first, last + 1, stride)
    if len(candidates) >= frames:
        return candidates[np.linspace(0, len(candidates) - 1, frames).astype(np.int64)]
    return np.linspace(first, last, frames).astype(np.int64)


def by_intervals(
    length: int,
    rate: float,
    frames: int,
    seconds: int | float,
    rng: np.random.Generator | None,
) -> Int64[np.ndarray, "T"]:
    """One frame from each of equal intervals, drawn in training; see `sample_indices`."""
    return sample_indices(trimmed_length(length, rate, seconds), frames, rng)


def by_seconds(
    length: int,
    rate: float,
    frames: int,
    seconds: int | float,
    rng: np.random.Generator | None,
) -> Int64[np.ndarray, "T"]:
    """Frames at whole seconds, the same in training: `rng` is not used; see `strided`."""
    del rng
    last = int(min(seconds * rate, length - 1)) if seconds else length - 1
    return strided(0, last, max(round(rate), 1), frames)


SAMPLERS: Mapping[str, Sampler] = {"intervals": by_intervals, "seconds": by_seconds}
"""The rules that `config.data.sampling` names."""
