"""Keeps what tracing finds in the user's cache, so that the next process need not trace.

A file holds the shapes of a network's parameters (JSON), or one function of a system as StableHLO:
neither machine code nor a pickle. What is read is compiled, or found in JAX's compilation cache,
beside which the files lie. A file's name is a hash of everything that tracing depends on.
"""

import dataclasses
import functools
import hashlib
import json
import logging
import os
import pathlib
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import einops
import jax
import jax.export
from flax.traverse_util import unflatten_dict
from jaxtyping import PyTree

from tokmerge_jax import parallel, registry, runtime
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.config import Config
from tokmerge_jax.merging import Merger
from tokmerge_jax.system import (
    Answering,
    Matching,
    MultipleChoice,
    Recognition,
    Retrieval,
    System,
)
from tokmerge_jax.types import Json, Params

_PACKAGE = pathlib.Path(__file__).parents[1]
_OURS = "tokmerge_jax."  # the modules whose sources are hashed
_TASKS = ("retrieval", "multiple_choice", "answering", "recognition")
_FUNCTIONS = ("encode_video", "encode_text", "classify", "video_memory", "match")
"""The functions that are kept: while they are traced, they read no file, such as a vocabulary."""

R = TypeVar("R", bound=Retrieval | MultipleChoice | Answering | Recognition | Matching | None)

_MOST = 64  # number of files
_LARGEST = 2**26  # bytes of a file
_IMPORTED = time.time()
_SETTLED = 60  # seconds before `_IMPORTED`: older source files are those that this process imports
_log = logging.getLogger(__name__)


def build(config: Config) -> System:
    """Builds a system as `registry.build` does, which traces only what is new (`recall`)."""
    return recall(registry.build(config))


def recall(system: System) -> System:
    """Returns a system that was built from its configuration, but traces only what is new.

    It computes the same; what an earlier process has traced is read.

    All of it is traced where the folder is not this user's alone, where code of other packages
    decides what is computed, or where the sources have just changed. Functions for several devices
    or for an accelerator are traced too: JAX does not export the calls of cuDNN.
    """
    facts, folder = _facts(system.config), _folder()
    if not facts or not folder:
        return system
    files = _Files(folder, facts)
    tasks = {task: _recalled(getattr(system, task), task, files) for task in _TASKS}
    if by_prompts := system.zero_shot:
        retrieval = _recalled(by_prompts.retrieval, "zero_shot", files)
        tasks["zero_shot"] = dataclasses.replace(by_prompts, retrieval=retrieval)
    weights = dataclasses.replace(system.weights, known=_shapes(system, files))
    return dataclasses.replace(system, weights=weights, **tasks)


class _Files(NamedTuple):
    """The files of one configuration, in a folder."""

    folder: pathlib.Path
    facts: dict[str, Json]

    def path(self, **facts: Json) -> pathlib.Path:
        """The file of what tracing finds under further facts."""
        return self.folder / runtime.fingerprint({**self.facts, **facts})


def _recalled(record: R, task: str, files: _Files) -> R:
    """The record of a task, whose encoders and matching head are `_kept`."""
    if record is None:
        return record
    named = {name: getattr(record, name, None) for name in _FUNCTIONS}
    kept = {name: _kept(f, f"{task}.{name}", files) for name, f in named.items() if f}
    head = record.matching if isinstance(record, Retrieval) else None
    heads = {"matching": _recalled(head, f"{task}.matching", files)} if head else {}
    return dataclasses.replace(record, **kept, **heads)


def _shapes(system: System, files: _Files) -> Params:
    path = files.path(of="shapes")
    if content := _read(path):
        flat = {key: jax.ShapeDtypeStruct(*leaf) for key, leaf in json.loads(content).items()}
        return unflatten_dict(flat, sep="/")
    flat = rules.flatten(system.weights.shapes)
    leaves = {key: (leaf.shape, leaf.dtype.name) for key, leaf in flat.items()}
    _write(path, json.dumps(leaves).encode())
    return system.weights.shapes


def _kept(function: Callable[..., PyTree], name: str, files: _Files) -> Callable[..., PyTree]:
    """Returns the function; where it is traced, its StableHLO is called, which may be kept."""

    @functools.wraps(function)
    def call(*arrays: PyTree, **named: PyTree) -> PyTree:
        try:
            if parallel.platform() == "cpu" and parallel.batch_shards() == 1 and not named:
                return _exported(function, name, arrays, files).call(*arrays)
        except Exception as error:  # JAX cannot export or read it; a fault of the input comes again
            _log.debug("%s is not kept: %s", name, error)
        return function(*arrays, **named)

    return call


def _exported(
    function: Callable[..., PyTree], name: str, arrays: tuple[PyTree, ...], files: _Files
) -> jax.export.Exported:
    """The function for arrays of these shapes, read or written."""
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arrays)
    described = [(*x.shape, x.dtype.name) for x in jax.tree.leaves(shapes)]
    precision = jax.config.jax_default_matmul_precision  # of this thread, if it has its own
    path = files.path(of=name, arrays=described, precision=str(precision))
    if content := _read(path):
        return jax.export.deserialize(bytearray(content))
    exported = jax.export.export(jax.jit(function))(*shapes)
    _write(path, bytes(exported.serialize()))
    return exported


def _facts(config: Config) -> dict[str, Json]:
    """Everything but its arguments that tracing depends on; empty where this is not known."""
    foreign = [kind for kind in _subclasses(Merger) if not kind.__module__.startswith(_OURS)]
    files = sorted(_PACKAGE.rglob("*.py"))
    if foreign or not files or not registry.is_own(config.system):
        return {}
    if max(_changed(file) for file in files) > _IMPORTED - _SETTLED:
        return {}
    sources = hashlib.sha256()
    for file in files:
        sources.update(f"{file.relative_to(_PACKAGE)}\0".encode() + file.read_bytes())
    places = {"checkpoint": "", "output": "", "data.folder": ""}
    return {
        "sources": sources.hexdigest(),
        "config": config.override(places).to_dict(),
        "versions": {**runtime.versions(), "einops": einops.__version__},
        "jax": {name: str(value) for name, value in jax.config.values.items()},
    }


def _changed(file: pathlib.Path) -> float:
    """When a file was written or put in its place, which may keep an older time of writing."""
    state = file.stat()
    return max(state.st_mtime, state.st_ctime)


def _subclasses(kind: type) -> Iterator[type]:
    for each in kind.__subclasses__():
        yield each
        yield from _subclasses(each)


def _folder() -> pathlib.Path | None:
    """A folder beside JAX's programs, if JAX keeps them, that only this user can write."""
    programs = jax.config.values["jax_compilation_cache_dir"]
    kept = jax.config.values["jax_enable_compilation_cache"]
    if not kept or not programs or "://" in programs:
        return None
    folder = pathlib.Path(programs, "traced")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.lstat()
    except OSError:
        return None
    private = state.st_uid == os.geteuid() and not state.st_mode & 0o022
    return folder if private and stat.S_ISDIR(state.st_mode) else None


def _read(path: pathlib.Path) -> bytes | None:
    """The content of a file, if it is there as it was written."""
    try:
        data = path.read_bytes()
        os.utime(path)  # it is in use
    except OSError:
        return None
    digest, content = data[:32], data[32:]
    return content if hashlib.sha256(content).digest() == digest else None


def _write(path: pathlib.Path, content: bytes) -> None:
    """Writes a file as a whole, and removes those whose last use is longest ago."""
    if len(content) > _LARGEST:
        return
    try:
        _replace(path, hashlib.sha256(content).digest() + content)
        files = sorted(path.parent.iterdir(), key=lambda file: -file.stat().st_mtime)
        for file in files[_MOST:]:
            file.unlink()
    except OSError as error:
        _log.debug("%s is not kept: %s", path, error)


def _replace(path: pathlib.Path, data: bytes) -> None:
    """Writes a file whose name no other process sees before it is whole."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as part:
        try:
            part.write(data)
            part.flush()
            os.replace(part.name, path)
        except OSError:  # a full disk
            os.unlink(part.name)
            raise
