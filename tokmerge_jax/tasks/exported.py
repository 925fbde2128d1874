"""Loads what `tokmerge export` wrote; a copy is beside it, which needs JAX and flatbuffers alone.

Example::

  programs = load()
  programs["encode_video"](video=frames)["embedding"]
"""

import functools
import json
import pathlib
from collections.abc import Callable

import jax
import jax.export
import numpy as np


def load(folder: str | pathlib.Path = pathlib.Path(__file__).parent) -> dict[str, Callable]:
    """The exported functions by name; each takes named arrays and returns named arrays."""
    folder, weights = pathlib.Path(folder), {}
    if (file := folder / "weights.safetensors").exists():
        data = np.memmap(file, np.uint8, "r")
        start = 8 + int.from_bytes(data[:8].tobytes(), "little")
        for name, entry in json.loads(data[8:start].tobytes()).items():
            tensor = data[start:][slice(*entry["data_offsets"])].view(np.float32)
            weights[name] = jax.device_put(tensor.reshape(entry["shape"]))
    programs = {}
    for path in sorted(folder.glob("*.jax_export")):
        exported = jax.export.deserialize(bytearray(path.read_bytes()))
        programs[path.stem] = functools.partial(jax.jit(exported.call), weights)
    return programs
