"""Settings of the machine for every run: dtypes, exact products, the compilation cache."""

import ctypes
import functools
import gc
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

from tokmerge_jax import disk, parallel
from tokmerge_jax.objects import Place
from tokmerge_jax.types import Json, UserError

_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
_KEPT_MEMORY = {-4: 0, -1: -1, -8: 1}
"""Parameters of glibc's `mallopt` that keep freed memory: M_MMAP_MAX = 0 (nothing is mapped alone),
M_TRIM_THRESHOLD = -1 (nothing is given back), M_ARENA_MAX = 1 (a second arena would be mapped)."""
_SMALL = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
_CACHED = 0.05  # seconds of compiling from which a program is worth a file
_PACKAGES = ("tokmerge_jax", "jax", "jaxlib", "flax", "numpy", "av")


def compute_dtype(name: str) -> DTypeLike:
    """The dtype that networks compute in; parameters, softmax, norms and scores stay float32.

    JAX before 0.10 cannot multiply all bfloat16 matrices on a CPU: choose float32 there.

    Args:
      name: "float32", "bfloat16", or "auto": bfloat16 on accelerators, float32 on CPU.

    Raises:
      UserError: if the name is unknown.
    """
    if name == "auto":
        name = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    if name not in _DTYPES:
        raise UserError(f"config.dtype={name!r} must be auto, {' or '.join(_DTYPES)}")
    return _DTYPES[name]


def start() -> None:
    """Configures JAX for full float32 products, a compilation cache and reuse of freed memory.

    Compiled programs are cached in `JAX_COMPILATION_CACHE_DIR`, by default in the user's cache.
    Freed memory stays with the process: on a CPU, every call allocates its intermediate results
    again (gigabytes in training), and the system would provide them page by page each time. This
    makes a training step an eighth faster, and its memory peak an eighth higher.
    """
    jax.config.update("jax_default_matmul_precision", "highest")
    if not jax.config.values["jax_compilation_cache_dir"]:
        home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        folder = pathlib.Path(home, "tokmerge_jax", "programs")
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _CACHED)
    gc.freeze()  # what is imported stays, and need not be searched
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it
    if mallopt:
        for parameter, value in _KEPT_MEMORY.items():
            mallopt(parameter, value)


def jit(function: Callable[..., PyTree], **settings: Any) -> jax.stages.Wrapped:  # jax.jit's
    """`jax.jit(function, **settings)`, for a CPU with a schedule that minimises memory.

    It halves the memory of a training step's intermediate results. The devices are those of the
    current mesh (`jax.set_mesh`), if there is one.
    """
    options = _compiler_options(parallel.platform())
    return jax.jit(function, compiler_options=options, **settings)


@functools.cache
def _compiler_options(platform: str) -> dict[str, str] | None:
    """`_SMALL` if the platform's compiler supports it, since XLA's options change; else None."""
    if platform != "cpu":
        return None
    try:
        jax.jit(jnp.negative, compiler_options=_SMALL).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return None
    return _SMALL


def finite(numbers: ArrayLike, what: str, **axes: Collection[object] | None) -> np.ndarray:
    """Returns `numbers` after checking that all are finite, since NaN would rank highest.

    Args:
      numbers: an array of any shape.
      what: what one number is, for the message.
      axes: meaning of the leading axes -> names along each; None = indices.

    Raises:
      UserError: if a number is NaN or infinite; the message names the first and its indices.
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
        " or the dtype is too narrow; name other weights as config.checkpoint, or set"
        " config.dtype=float32"
    )


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that numbers depend on, and the devices.

    Read from `__version__`, since a package that is only on PYTHONPATH has no metadata.
    """
    devices = jax.devices()
    return {
        "python": platform.python_version(),
        **{name: importlib.import_module(name).__version__ for name in _PACKAGES},
        "devices": f"{len(devices)} x {devices[0].device_kind}",
    }


def fingerprint(facts: Mapping[str, Json]) -> str:
    """A hash of 16 hexadecimal digits of `facts` (JSON values)."""
    text = json.dumps(facts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest(arrays: Iterable[ArrayLike]) -> str:
    """The SHA-256 of the arrays' content, in order."""
    content = hashlib.sha256()
    for array in arrays:
        content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()


def write_text(path: Place, text: str) -> None:
    """Writes a text file atomically, even if the process is killed."""
    with disk.replaced(path) as part:
        part.write_text(text, "utf-8")


class Stopwatch:
    """Measures the wall time of named stages, one at a time, also over resumed runs.

    Attributes:
      seconds: stage -> seconds so far.
    """

    def __init__(
        self,
        before: Mapping[str, float] | None = None,
        keep: Callable[[Mapping[str, float]], None] = lambda seconds: None,
    ) -> None:
        """Starts from the seconds `before`; `keep` is called with the seconds after each change."""
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
        """Adds the time of the running stage so far and keeps it, in case of a kill."""
        now = time.perf_counter()
        self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._begun
        self._begun = now
        self._keep(self.seconds)
