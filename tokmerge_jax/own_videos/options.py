"""What a user may choose for an index: windows, and the number of tokens."""

import numpy as np

from tokmerge_jax.types import UserError


def seconds(
    window: int | float | None, stride: int | float | None, frames: int
) -> tuple[float, float]:
    """Returns length and stride of windows in seconds, for a model that reads a number of `frames`.

    Raises:
      UserError: if they cannot be.
    """
    length = float(frames) if window is None else float(window)
    step = length / 2 if stride is None else float(stride)
    if not 0 <= length < np.inf:
        raise UserError(f"window={window} must be a number of seconds; 0 = whole videos")
    if length and not 0 < step <= length:
        raise UserError(f"stride={stride} must be above 0 and at most the window, {length:g} s")
    return length, step


def kept(tokens: object, most: int) -> int:
    """Returns the number of tokens of a window that an index keeps, of `most` that the model makes.

    Raises:
      UserError: if `tokens` is neither a number of tokens nor True (all) or False (none).
    """
    if not isinstance(tokens, int) or tokens < 0:
        raise UserError(f"tokens={tokens!r:.60} must be a whole number; 0 keeps none")
    return most if tokens is True else min(int(tokens), most)
