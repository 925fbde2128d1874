"""Splitting of batches on a CPU, so that results of matrix products stay in its caches."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from tokmerge_jax import parallel

_ROWS = 2400  # rows of a ViT's matrix products whose results still fit a CPU's cache (measured)
_PARTS = 4  # more parts only take longer to compile


def few_at_a_time(function: Callable[..., PyTree], arrays: PyTree, rows: int) -> PyTree:
    """Calls `function(*arrays)`, on a single CPU in up to 4 parts of the batch.

    A matrix product there takes up to a sixth longer if its result leaves the caches. Unlike a loop
    (`parallel.map_rows`), this does not copy what the backward pass needs into one array.

    Args:
      function: `(*arrays of some samples) -> tree of arrays of as many samples`; it must treat
        samples independently.
      arrays: a tuple of trees, all leaves with one leading axis.
      rows: number of rows of the matrix products for each sample.
    """
    batch = jax.tree.leaves(arrays)[0].shape[0]
    wanted = min(-(-batch * rows // _ROWS), _PARTS)
    if parallel.platform() != "cpu" or parallel.batch_shards() > 1:
        wanted = 1
    parts = max(n for n in range(1, min(wanted, batch) + 1) if batch % n == 0)
    if parts == 1:
        return function(*arrays)
    done = []
    for i in range(parts):
        own = slice(i * batch // parts, (i + 1) * batch // parts)
        done.append(function(*jax.tree.map(lambda x, own=own: x[own], arrays)))
    return jax.tree.map(lambda *xs: jnp.concatenate(xs), *done)
