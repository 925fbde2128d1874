"""Writes a system's functions as StableHLO, which JAX runs without this package."""

import inspect
import json
import pathlib
from collections.abc import Mapping
from typing import Literal

import jax
import jax.export
import numpy as np
from flax.traverse_util import unflatten_dict

from tokmerge_jax import disk, parallel, runtime
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.system import System
from tokmerge_jax.tasks import exported as loader
from tokmerge_jax.tasks.programs import Program, programs
from tokmerge_jax.types import Json, Params, UserError

PLATFORMS = "cpu", "cuda", "tpu"
"""The platforms that every file serves."""

Weights = Literal["beside", "inside"]
"""Where the parameters are: in weights.safetensors for all functions, or in each function."""

_LARGEST = 2**31 - 2**24  # bytes of the constants of a file, whose offsets have 31 bits
_COMPATIBILITY = (
    "JAX reads a file up to 6 months after the release that wrote it, and up to 3 weeks before:"
    " keep the checkpoint, and export it again with a newer JAX"
)


def export(
    system: System,
    params: Params,
    target: pathlib.Path,
    *,
    name: str,
    batch: int = 0,
    weights: Weights = "beside",
) -> list[str]:
    """Writes the folder `target`: functions, weights, `export.json`, and a loader, `load.py`.

    Args:
      system: the system; its merging is part of the functions.
      params: its parameters, written as float32.
      target: the new folder.
      name: the configuration's name, for `export.json`.
      batch: number of rows that the functions take; 0 = any.
      weights: where the parameters are.

    Returns:
      the names of the functions (`programs`).

    Raises:
      UserError: if nothing can be exported, `target` exists or cannot be written, or the parameters
        are too large to be inside.
    """
    if target.exists():
        raise UserError(f"target={target} already exists; remove it or name another")
    flat = {key: np.asarray(leaf, np.float32) for key, leaf in rules.flatten(params).items()}
    size = sum(leaf.nbytes for leaf in flat.values())
    if weights == "inside" and size > _LARGEST:
        raise UserError(
            f"the weights have {size / 2**30:.1f} GiB, and a file of functions holds at most 2;"
            " write them beside it (weights=beside)"
        )
    made = {key: _exported(each, flat, batch, weights) for key, each in programs(system).items()}
    part = target.with_name(f"{target.name}.part")  # a stop leaves no half of an export
    with disk.explained(target):
        disk.remove(part)
        part.mkdir(parents=True)
        for key, each in made.items():
            (part / f"{key}.jax_export").write_bytes(each.serialize())
        if weights == "beside":
            disk.write_tensors(part / "weights.safetensors", flat)
        (part / "load.py").write_text(inspect.getsource(loader), "utf-8")
        text = json.dumps(_about(system, name, made, weights), indent=2, default=str)
        (part / "export.json").write_text(f"{text}\n", "utf-8")
        part.rename(target)
    return list(made)


def _exported(
    program: Program, flat: Mapping[str, np.ndarray], batch: int, weights: Weights
) -> jax.export.Exported:
    """A program for all platforms; its arguments are flat weights, if beside, and named arrays."""
    inside, beside = (flat, {}) if weights == "inside" else ({}, flat)
    given = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), dict(beside))
    (rows,) = jax.export.symbolic_shape(str(batch) if batch else "b")
    arrays = {
        name: jax.ShapeDtypeStruct((rows, *row.shape), row.dtype)
        for name, row in program.inputs.items()
    }

    def call(weights: Mapping[str, jax.Array], **arrays: jax.Array) -> Mapping[str, jax.Array]:
        params = unflatten_dict({**inside, **weights}, sep="/")
        return program.by_row(params, **arrays)

    with parallel.portable(), jax.default_matmul_precision("highest"):
        return jax.export.export(jax.jit(call), platforms=PLATFORMS)(given, **arrays)


def _about(
    system: System, name: str, made: Mapping[str, jax.export.Exported], weights: Weights
) -> dict[str, Json]:
    """The content of export.json."""
    dtype = np.dtype(runtime.compute_dtype(system.config.dtype)).name
    return {
        "name": name,
        "system": system.name,
        "functions": {key: _signature(each) for key, each in made.items()},
        "weights": weights,
        "platforms": list(PLATFORMS),
        "dtype": dtype,
        "gmac": system.merging.gmac,
        "pixels": {**system.pixels.constants, "transform": repr(system.pixels.transform)},
        "config": system.config.override({"checkpoint": ""}).to_dict(),  # a path of this machine
        "versions": runtime.versions(),
        "compatibility": _COMPATIBILITY,
    }


def _signature(exported: jax.export.Exported) -> dict[str, Json]:
    """Names, shapes and dtypes of what a function reads and returns; "b" is any number of rows."""
    _, inputs = jax.tree.unflatten(exported.in_tree, exported.in_avals)
    outputs = jax.tree.unflatten(exported.out_tree, exported.out_avals)
    return {
        "calling_convention": exported.calling_convention_version,
        "inputs": {name: _array(x.shape, x.dtype) for name, x in inputs.items()},
        "outputs": {name: _array(x.shape, x.dtype) for name, x in outputs.items()},
    }


def _array(shape: tuple[object, ...], dtype: np.dtype) -> dict[str, Json]:
    sizes = [size if isinstance(size, int) else str(size) for size in shape]
    return {"shape": sizes, "dtype": dtype.name}
