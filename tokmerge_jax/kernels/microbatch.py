"""Many samples on a CPU, few enough at a time for its caches."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from tokmerge_jax import parallel

_ROWS = 2400  # of a transformer: the results of its products then still lie in a cache
_PARTS = 4  # more would only take longer to compile


def few_at_a_time(function: Callable[..., PyTree], arrays: PyTree, rows: int) -> PyTree:
    """`function(*arrays)` of a function that treats samples apart; on one CPU, in up to 4 parts.

    A matrix product there takes up to a sixth longer if its result leaves the caches. Unlike in a
    loop (`parallel.map_rows`), what a gradient needs of the parts is not gathered in one place.

    Args:
      function: `(*arrays of some samples) -> tree of arrays of as many samples`.
      arrays: a tuple of trees, all leaves with one leading axis.
      rows: of a matrix product for each sample.
    """
    batch = jax.tree.leaves(arrays)[0].shape[0]
    wanted = min(-(-batch * rows // _ROWS), _PARTS)
    if jax.default_backend() != "cpu" or parallel.ways() > 1:
        wanted = 1
    parts = max(n for n in range(1, min(wanted, batch) + 1) if batch % n == 0)
    if parts == 1:
        return function(*arrays)
    done = []
    for i in range(parts):
        own = slice(i * batch // parts, (i + 1) * batch // parts)
        done.append(function(*jax.tree.map(lambda x, own=own: x[own], arrays)))
    return jax.tree.map(lambda *xs: jnp.concatenate(xs), *done)
