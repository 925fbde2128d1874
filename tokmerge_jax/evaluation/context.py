"""The tools of every evaluation: a model on devices, videos, stored results, a stopwatch."""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Concatenate, ParamSpec, TypeVar

import jax
import numpy as np

from tokmerge_jax import hosts, parallel, runtime
from tokmerge_jax.evaluation.store import Store
from tokmerge_jax.runtime import Stopwatch
from tokmerge_jax.types import Batch, Params, UserError

_NOTE = "encoded"

P = ParamSpec("P")
R = TypeVar("R")
Rows = TypeVar("Rows")

Batches = Callable[[int, np.ndarray], Iterator[Batch]]
"""(batch size, rows) -> batches of `video`, `index` and `mask` of the videos in these rows, in
order, without videos that cannot be decoded."""


@dataclasses.dataclass(frozen=True)
class Model:
    """Parameters and the mesh of devices that they are used on."""

    params: Params
    mesh: jax.sharding.Mesh
    _begun: dict[Callable[..., object], Future[None]] = dataclasses.field(default_factory=dict)

    def begin(self, function: Callable[..., object], rows: jax.ShapeDtypeStruct) -> None:
        """Begins to compile a system's function of an array of rows, in another thread.

        The first call of `compiled` waits for it. Meanwhile this thread can hash and place the
        parameters: neither needs Python's lock, and most of compiling does not.
        """
        given = parallel.abstract(self.mesh, dict(self.params))
        array = jax.ShapeDtypeStruct(rows.shape, rows.dtype, sharding=parallel.rows(self.mesh))
        precision = jax.config.jax_default_matmul_precision  # of this thread, if it has its own

        def compile_it() -> None:
            with jax.default_matmul_precision(precision), jax.set_mesh(self.mesh):
                runtime.jit(_on_whole(function)).lower(given, array).compile()

        pool = ThreadPoolExecutor(1)
        self._begun[function] = pool.submit(compile_it)
        pool.shutdown(wait=False)

    def compiled(self, function: Callable[Concatenate[Params, P], R]) -> Callable[P, R]:
        """Compiles a system's function and binds the parameters.

        Rows of NumPy arrays are split over the devices; other arguments are passed on unchanged.
        """
        program = runtime.jit(_on_whole(function))

        def call(*arrays: P.args, **named: P.kwargs) -> R:
            if begun := self._begun.pop(function, None):
                begun.exception()  # JAX keeps the program; what failed is tried, and fails, below
            arrays, named = jax.tree.map(self._split, (arrays, named))
            with jax.set_mesh(self.mesh):
                return program(self.placed, *arrays, **named)

        return call

    def _split(self, leaf: object) -> object:
        if not isinstance(leaf, np.ndarray):
            return leaf
        return parallel.put(leaf, parallel.rows(self.mesh))

    @functools.cached_property
    def placed(self) -> Params:
        """The parameters on the devices, shared by all functions."""
        return parallel.place(self.mesh, dict(self.params))


@functools.lru_cache(maxsize=16)  # `jax.jit` traces the same function only once
def _on_whole(function: Callable[Concatenate[Params, P], R]) -> Callable[Concatenate[Params, P], R]:
    """The function of parameters that may be split over devices."""

    def on_whole(params: Params, *arrays: P.args, **named: P.kwargs) -> R:
        return function(parallel.gathered(params), *arrays, **named)

    return on_whole


@dataclasses.dataclass(frozen=True)
class Context:
    """The tools of an evaluation.

    Attributes:
      model: the model to evaluate.
      batches: the videos.
      store: the results so far of this model and these videos, from which an evaluation resumes.
      watch: measures the time of each stage.
    """

    model: Model
    batches: Batches
    store: Store
    watch: Stopwatch


def ahead(
    function: Callable[..., R], inputs: Iterable[tuple[Rows, tuple[np.ndarray, ...]]]
) -> Iterator[tuple[Rows, R]]:
    """Yields (rows, `function` of their arrays) one batch late, so that the host prepares the next
    batch while the device works.
    """
    pending = None
    try:
        for index, arrays in inputs:
            result = index, function(*arrays)
            if pending is not None:
                yield pending
            pending = result
    except UserError:  # a broken video stops the run; results before it are kept
        if pending is not None:
            yield pending
        raise
    if pending is not None:
        yield pending


class Speed:
    """Times all batches of this process but the first, which includes compilation.

    The store keeps the numbers (`note_often`), so the batches of a killed process count too.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._first, self._begun = store, True, 0.0
        noted = store.noted(_NOTE, dict) or {}
        self._clips, self._seconds = noted.get("clips", 0), noted.get("seconds", 0.0)

    @contextmanager
    def __call__(self, clips: int) -> Iterator[None]:
        """Times the encoding of `clips` videos; the block must wait for its results."""
        self._begun = time.perf_counter()
        yield
        self.add(clips)

    def add(self, clips: int) -> None:
        """Adds `clips` videos that were encoded since the previous call."""
        now = time.perf_counter()
        if not self._first:
            self._clips += clips
            self._seconds += now - self._begun
            self._store.note_often(_NOTE, self._numbers())
        self._first, self._begun = False, now

    @property
    def clips_per_second(self) -> float | None:
        """The mean speed over all resumed runs, summed over the processes that work at a time.

        Notes the numbers of the end and waits for all processes; None if none had two batches.
        """
        if self._clips:
            self._store.note(_NOTE, self._numbers())
        speeds = hosts.gather(self._clips / self._seconds if self._clips else 0.0)
        return sum(speeds) or None

    def _numbers(self) -> dict[str, float | int]:
        return {"clips": self._clips, "seconds": self._seconds}
