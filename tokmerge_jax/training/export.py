"""Trained parameters as one small file: .safetensors of our names, "vision/norm/scale"."""

from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from jax.typing import DTypeLike
from safetensors.numpy import save_file

from tokmerge_jax.types import Params


def write(path: Path, params: Params, dtype: DTypeLike = np.float32) -> int:
    """Writes the parameters, cast to `dtype`, and returns the file's size in bytes."""
    flat = flatten_dict(jax.device_get(params), sep="/")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.asarray(leaf, dtype, order="C") for name, leaf in flat.items()}, path)
    return path.stat().st_size
