"""Writes trained parameters as one small .safetensors file with names like "vision/norm/scale"."""

from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from jax.typing import DTypeLike

from tokmerge_jax import disk
from tokmerge_jax.types import Params, UserError


def check(path: Path) -> None:
    """Raises UserError if `path` is a folder, is no .safetensors file, or cannot be written."""
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file to export to, {path}/NAME.safetensors")
    if path.suffix != ".safetensors":
        raise UserError(f"--export={path} must end in .safetensors, the format of the export")
    part = path.with_name(f"{path.name}.part")
    with disk.explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        part.unlink()


def write(path: Path, params: Params, dtype: DTypeLike = np.float32) -> int:
    """Writes the parameters, cast to `dtype`, and returns the file's size in bytes."""
    flat = flatten_dict(jax.device_get(params), sep="/")
    arrays = {name: np.asarray(leaf, dtype, order="C") for name, leaf in flat.items()}
    disk.make(path.parent)
    with disk.replaced(path) as part:
        disk.write_tensors(part, arrays)
    return path.stat().st_size
