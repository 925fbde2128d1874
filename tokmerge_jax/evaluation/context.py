"""What every evaluation has at hand: a model on its devices, videos, results on disk, a clock."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Concatenate, ParamSpec, TypeVar

import jax
import numpy as np

from tokmerge_jax import parallel, runtime
from tokmerge_jax.evaluation.store import Store
from tokmerge_jax.runtime import Stopwatch
from tokmerge_jax.types import Batch, Params, UserError

P = ParamSpec("P")
R = TypeVar("R")
Rows = TypeVar("Rows")

Batches = Callable[[int, np.ndarray], Iterator[Batch]]
"""`(batch size, rows)` -> batches of `video`, `index` and `mask` of those of the videos in these
rows that can be decoded, in order."""


@dataclasses.dataclass(frozen=True)
class Model:
    """Parameters, and the devices that they are used on."""

    params: Params
    mesh: jax.sharding.Mesh

    def compiled(self, function: Callable[Concatenate[Params, P], R]) -> Callable[P, R]:
        """A system's function of these parameters; rows of host arrays are split over the devices.

        Whatever is no numpy array is passed on as it is.
        """
        program = runtime.jit(function)

        def call(*arrays: P.args, **named: P.kwargs) -> R:
            arrays, named = jax.tree.map(self._split, (arrays, named))
            with jax.set_mesh(self.mesh):
                return program(self._placed, *arrays, **named)

        return call

    def _split(self, leaf: object) -> object:
        if not isinstance(leaf, np.ndarray):
            return leaf
        return parallel.shard(self.mesh, {"rows": leaf})["rows"]

    @functools.cached_property
    def _placed(self) -> Params:
        """The parameters on the devices, once for all functions."""
        return parallel.replicate(self.mesh, dict(self.params))


@dataclasses.dataclass(frozen=True)
class Context:
    """What an evaluation works with.

    Attributes:
      model: what is evaluated.
      batches: its videos.
      store: keeps results as they come, and belongs to this model and these videos; an evaluation
        goes on where it says that one was.
      watch: notes how long each stage takes.
    """

    model: Model
    batches: Batches
    store: Store
    watch: Stopwatch


def ahead(
    function: Callable[..., R], inputs: Iterable[tuple[Rows, tuple[np.ndarray, ...]]]
) -> Iterator[tuple[Rows, R]]:
    """Rows and `function` of their arrays, one batch late: the host prepares the next meanwhile."""
    pending = None
    try:
        for index, arrays in inputs:
            result = index, function(*arrays)
            if pending is not None:
                yield pending
            pending = result
    except UserError:  # a video that stops the run: what comes before it is kept
        if pending is not None:
            yield pending
        raise
    if pending is not None:
        yield pending
