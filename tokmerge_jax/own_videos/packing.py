"""Packs tokens into a byte for each number, and a scale for each token."""

import numpy as np
from jaxtyping import Float32

_LARGEST = 127
_SCALE = np.dtype("<f4")


def pack(tokens: Float32[np.ndarray, "N C"]) -> bytes:
    """Rounds each token to 255 steps of its own scale; C + 4 bytes per token.

    A number changes by at most 1/254 of the largest one of its token.
    """
    scales = np.abs(tokens).max(axis=1, keepdims=True) / np.float32(_LARGEST)
    steps = np.rint(np.divide(tokens, scales, where=scales > 0, out=np.zeros_like(tokens)))
    return scales.astype(_SCALE).tobytes() + steps.astype(np.int8).tobytes()


def unpack(packed: bytes, shape: tuple[int, ...]) -> Float32[np.ndarray, "N C"]:
    """Restores packed tokens.

    Args:
      packed: the result of `pack`.
      shape: N and C.

    Raises:
      ValueError: if tokens of another shape were packed.
    """
    scales = np.frombuffer(packed[: _SCALE.itemsize * shape[0]], _SCALE)
    steps = np.frombuffer(packed[_SCALE.itemsize * shape[0] :], np.int8)
    return scales.reshape(shape[0], 1).astype(np.float32) * steps.reshape(shape)
