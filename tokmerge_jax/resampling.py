"""Weights by which values on a grid are read at another number of places."""

import numpy as np
from jaxtyping import Float32


def bicubic(size: int, target: int) -> Float32[np.ndarray, "S E"]:
    """Weights of `size` places in each of `target`; beyond the ends, the last one repeats.

    Keys' kernel (1981) with a = -0.75, half-pixel centres and no antialiasing, as PyTorch has it.
    """
    centres = (np.arange(target) + 0.5) * size / target - 0.5
    before = np.floor(centres).astype(int)
    weights = np.zeros((target, size), np.float32)
    for place in (before - 1, before, before + 1, before + 2):
        x = np.abs(centres - place)
        near, far = 1.25 * x**3 - 2.25 * x**2 + 1, -0.75 * (x**3 - 5 * x**2 + 8 * x - 4)
        within = place.clip(0, size - 1)
        np.add.at(weights, (np.arange(target), within), np.where(x <= 1, near, far))
    return weights
