"""Encodes a large batch part by part, with the gradient of the whole batch."""

from collections.abc import Callable

import jax
from jaxtyping import PyTree

from tokmerge_jax import parallel


def in_parts(function: Callable[..., PyTree], parts: int, *arrays: jax.Array) -> PyTree:
    """Computes `function(*arrays)` on `parts` groups of rows, one after the other.

    The function must treat rows independently. Activations are recomputed for the gradient, so that
    only one part's are held at a time: gradient accumulation for losses over the whole batch.
    Source: GradCache (RepL4NLP 2021).

    Args:
      function: `(*arrays of some rows) -> tree of arrays with as many rows`.
      parts: number of parts; 1 = all rows at once. If rows cannot be split evenly over parts and
        devices, there are more parts.
      arrays: arrays with the same first axis.
    """
    if parts == 1:
        return function(*arrays)
    together = len(arrays[0]) // (parts * parallel.batch_shards())
    return parallel.map_rows(jax.checkpoint(function), arrays, together)
