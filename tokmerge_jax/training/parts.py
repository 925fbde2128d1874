"""Encoding a large batch part by part, to the gradient of the whole."""

from collections.abc import Callable

import jax
from jaxtyping import PyTree

from tokmerge_jax import parallel


def in_parts(function: Callable[..., PyTree], parts: int, *arrays: jax.Array) -> PyTree:
    """`function(*arrays)` of a function that treats rows apart, `parts` groups of rows in turn.

    What is computed on the way to a part's results is computed again for its gradient, so that
    only one part's is held at a time: gradient accumulation for losses that look over the whole
    batch. Source: GradCache (RepL4NLP 2021).

    Args:
      function: `(*arrays of some rows) -> tree of arrays of as many rows`.
      parts: how many; 1 = all rows at once. Rows that parts and devices cannot share evenly are
        cut into more.
      arrays: with one leading axis.
    """
    if parts == 1:
        return function(*arrays)
    together = len(arrays[0]) // (parts * parallel.ways())
    return parallel.map_rows(jax.checkpoint(function), arrays, together)
