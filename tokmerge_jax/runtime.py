"""What every run needs of its machine: number types, exact products, compiled programs kept."""

import ctypes
import functools
import hashlib
import importlib
import json
import os
import pathlib
import platform
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import PyTree

from tokmerge_jax import disk
from tokmerge_jax.types import Json, UserError

_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
_KEPT_MEMORY = {-4: 0, -1: -1, -8: 1}
"""glibc's mallopt: M_MMAP_MAX none, M_TRIM_THRESHOLD never, M_ARENA_MAX one (others ask mmap)."""
_SMALL = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
_PACKAGES = ("tokmerge_jax", "jax", "jaxlib", "flax", "numpy", "av")


def compute_dtype(name: str) -> DTypeLike:
    """The type that networks compute in; parameters, softmax, norms and scores stay float32.

    Args:
      name: "float32", "bfloat16", or "auto": bfloat16 on accelerators, float32 on CPU.

    Raises:
      UserError: if the name is another.
    """
    if name == "auto":
        name = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    if name not in _DTYPES:
        raise UserError(f"config.dtype={name!r} must be auto, {' or '.join(_DTYPES)}")
    return _DTYPES[name]


def start() -> None:
    """Full float32 products (accelerators would round them), and what is costly to get kept.

    Compiled programs lie where `JAX_COMPILATION_CACHE_DIR` says, by default in the user's cache.
    Memory that was freed stays with the process: a program on a CPU asks for its intermediate
    results, gigabytes in training, at every call anew, and the system would hand them over page by
    page each time. A step of training gains an eighth, for a peak of memory that is as much higher.
    """
    jax.config.update("jax_default_matmul_precision", "highest")
    if not jax.config.values["jax_compilation_cache_dir"]:
        home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        folder = pathlib.Path(home, "tokmerge_jax", "programs")
        jax.config.update("jax_compilation_cache_dir", str(folder))
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it
    if mallopt:
        for parameter, value in _KEPT_MEMORY.items():
            mallopt(parameter, value)


def jit(function: Callable[..., PyTree], **settings: Any) -> jax.stages.Wrapped:  # jax.jit's
    """`jax.jit(function, **settings)`; on a CPU, operations are put in the order that needs least.

    Intermediate results of a step of training then take half the memory.
    """
    return jax.jit(function, compiler_options=_compiler_options(), **settings)


@functools.cache
def _compiler_options() -> dict[str, str] | None:
    """`_SMALL` where the compiler is one that knows it: XLA's options come and go."""
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(jnp.negative, compiler_options=_SMALL).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return None
    return _SMALL


def finite(numbers: ArrayLike, what: str, **axes: Collection[object] | None) -> np.ndarray:
    """`numbers` that may rank something, of any shape: nothing is higher than NaN.

    Args:
      numbers: to check.
      what: one of them is.
      axes: what the leading axes count, and the names along each; None = numbers from 0.

    Raises:
      UserError: naming the first that is NaN or infinite, and what it belongs to.
    """
    numbers = np.asarray(numbers)
    if np.isfinite(numbers).all():
        return numbers
    place = tuple(np.argwhere(~np.isfinite(numbers))[0].tolist())
    owners = [
        f"{axis} {i if names is None else list(names)[i]}"
        for (axis, names), i in zip(axes.items(), place, strict=False)
    ]
    of = f" of {' and '.join(owners)}" if owners else ""
    raise UserError(
        f"the {what}{of} is {numbers[place]}: the weights are damaged, their training has diverged,"
        " or the number type is too narrow; name other weights as config.checkpoint, or set"
        " config.dtype=float32"
    )


def versions() -> dict[str, str]:
    """Python, the packages that numbers depend on, and the devices.

    Packages say it themselves: one that is only on PYTHONPATH has no metadata.
    """
    devices = jax.devices()
    return {
        "python": platform.python_version(),
        **{name: importlib.import_module(name).__version__ for name in _PACKAGES},
        "devices": f"{len(devices)} x {devices[0].device_kind}",
    }


def fingerprint(facts: Mapping[str, Json]) -> str:
    """16 hexadecimal digits that differ wherever `facts` (anything that JSON holds) do."""
    text = json.dumps(facts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest(arrays: Iterable[ArrayLike]) -> str:
    """The SHA-256 of the arrays' numbers, one after the other."""
    content = hashlib.sha256()
    for array in arrays:
        content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a file whole or not at all, whenever the process may be killed."""
    part = path.with_name(f"{path.name}.part")
    with disk.explained(path):
        part.write_text(text, "utf-8")
        os.replace(part, path)


class Stopwatch:
    """Wall time of named stages, one at a time, over all sittings of a run.

    Attributes:
      seconds: of each stage so far.
    """

    def __init__(
        self,
        before: Mapping[str, float] | None = None,
        keep: Callable[[Mapping[str, float]], None] = lambda seconds: None,
    ) -> None:
        """Goes on from the seconds `before`; `keep` is given those so far, again and again."""
        self.seconds = dict(before or {})
        self._keep, self._stage, self._begun = keep, "", 0.0

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Adds the time of the block to `stage`; the block must wait for its results."""
        self._stage, self._begun = stage, time.perf_counter()
        try:
            yield
        finally:
            self.note()

    def note(self) -> None:
        """Adds the time so far of the stage that runs, and keeps it: a process may be killed."""
        now = time.perf_counter()
        self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._begun
        self._begun = now
        self._keep(self.seconds)
