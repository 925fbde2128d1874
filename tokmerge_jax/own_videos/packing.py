"""Merges tokens, and packs them into a byte for each number, and a scale and a size for each."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int

from tokmerge_jax.merging import matching, merge
from tokmerge_jax.signatures import EncodeVideo, Features
from tokmerge_jax.types import Params

_SHARE = 8  # of the tokens, one merges in each round
_LARGEST = 127
_HEAD = np.dtype([("scale", "<f4"), ("size", "<u4")])


def encoder(encode_video: EncodeVideo, tokens: int) -> Callable[..., Features]:
    """What an index keeps of `encode_video`: "tokens" [B,N,C] are at most a number, 0 for none.

    Their "sizes" [B,N] are the numbers of tokens that they stand for.
    """

    def encode(params: Params, video: jax.Array) -> Features:
        seen = encode_video(params, video)
        if not tokens:
            return {"embedding": seen["embedding"]}
        kept, sizes = merged(seen["tokens"], tokens)
        return {"embedding": seen["embedding"], "tokens": kept, "sizes": sizes}

    return encode


def merged(
    x: Float[Array, "B N C"], count: int
) -> tuple[Float[Array, "B M C"], Float[Array, "B M"]]:
    """Merges the most similar tokens, as ToMe does, until at most `count` are left.

    They are compared as they are, since a network's result has no keys. Many small rounds change
    scores less than few large ones, which merge tokens that are not similar.

    Returns:
      The tokens, and their sizes, which count from 1.
    """
    size = jnp.ones(x.shape[:2], jnp.float32)
    while (left := x.shape[1]) > count:
        r = min(left - count, max(left // _SHARE, 1))
        x, size = merge.weighted_mean(matching.bipartite(x, r), x, size)
    return x, size


def pack(tokens: Float32[np.ndarray, "N C"], sizes: Int[np.ndarray, " N"]) -> bytes:
    """Rounds each token to 255 steps of its own scale; C + 8 bytes per token.

    A number changes by at most 1/254 of the largest one of its token.
    """
    scales = np.abs(tokens).max(axis=1, keepdims=True) / np.float32(_LARGEST)
    steps = np.rint(np.divide(tokens, scales, where=scales > 0, out=np.zeros_like(tokens)))
    head = np.empty(len(tokens), _HEAD)
    head["scale"], head["size"] = scales[:, 0], sizes
    return head.tobytes() + steps.astype(np.int8).tobytes()


def unpack(packed: bytes, shape: tuple[int, ...]) -> Float32[np.ndarray, "N C"]:
    """Restores packed tokens, each as often as its size.

    In cross-attention, copies of a token count as one whose score gains the logarithm of its size
    (ToMe's proportional attention), so that any matching head reads merged tokens as it is.

    Args:
      packed: the result of `pack`.
      shape: the sum N of the sizes, and C.

    Raises:
      ValueError: if tokens of another shape were packed.
    """
    count = len(packed) // (_HEAD.itemsize + shape[1])
    head = np.frombuffer(packed[: count * _HEAD.itemsize], _HEAD)
    steps = np.frombuffer(packed[count * _HEAD.itemsize :], np.int8)
    if head["size"].sum(dtype=np.int64) != shape[0]:
        raise ValueError(f"sizes of tokens do not sum up to {shape[0]}")
    tokens = head["scale"].astype(np.float32)[:, None] * steps.reshape(count, shape[1])
    return tokens.repeat(head["size"], axis=0)
