"""Which frames of a video are looked at.

Source: UMT (ICCV 2023) and vid-TLDR (CVPR 2024), frame samplers "middle" and "rand".
"""

import numpy as np
from jaxtyping import Int64


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
