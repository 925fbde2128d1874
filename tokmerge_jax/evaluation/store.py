"""Results on disk as they come, so that a run that was killed goes on where it was.

A store belongs to the facts that its numbers depend on: other facts, another folder. It is written
by one process, which may drive any number of devices.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from numpy.lib.format import open_memmap

from tokmerge_jax import runtime
from tokmerge_jax.types import Params, System

_VIEWS = ("clips", "crops", "neighbours", "wrap")  # keys of systems that tell actions


def model_facts(system: System, params: Params) -> dict[str, Any]:
    """What features, or an action's logits, depend on beside the video or text itself."""
    config, data = system.config, system.config.data
    scaled = data.get("decode_size", 0)
    views = [f"{key}={data[key]}" for key in _VIEWS if key in data]
    decoded = [data.sampling, data.trim_seconds, *([scaled] if scaled else []), *views]
    return {
        "system": system.name,
        "model": config.model.to_dict(),
        "compute": np.dtype(runtime.compute_dtype(config.dtype)).name,
        "checkpoint": runtime.digest(jax.tree.leaves(params)),
        "frames": [*decoded, str(system.transform)],
        "package": runtime.versions()["tokmerge_jax"],
    }


class Rows:
    """An array on disk whose rows are written one after the other or in any order.

    Attributes:
      values: the rows; zero where nothing has been written.
    """

    def __init__(self, values: np.memmap, done: np.memmap, dtype: DTypeLike) -> None:
        """Numbers are stored as integers of their width, for .npy does not know bfloat16."""
        self._raw, self._done = values, done
        self.values: np.ndarray = values.view(dtype)

    @property
    def todo(self) -> np.ndarray:
        """The rows that have not been written yet, ascending."""
        return np.flatnonzero(self._done == 0)

    def write(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Stores `values[i]` as row `rows[i]`: first the numbers, then the note that they are."""
        self.values[rows] = values
        self._raw.flush()
        self._done[rows] = 1
        self._done.flush()


class Store:
    """A folder of `Rows` and notes that belongs to one set of facts.

    Attributes:
      fingerprint: of the facts.
    """

    def __init__(self, root: pathlib.Path, facts: Mapping[str, Any]) -> None:
        """Opens or makes the folder of `facts` (anything that JSON holds) under `root`."""
        self.fingerprint = runtime.fingerprint(facts)
        self._folder = root / self.fingerprint
        self._folder.mkdir(parents=True, exist_ok=True)
        self.note("facts", facts)

    def open(self, name: str) -> Rows | None:
        """The array `name`, None if it has not been made."""
        dtype = self.noted(f"{name}.dtype")
        if dtype is None:
            return None
        values, done = (
            open_memmap(self._folder / f"{name}.{part}.npy", "r+") for part in ("rows", "done")
        )
        return Rows(values, done, jnp.dtype(dtype))

    def make(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Rows:
        """The array `name`, opened, or made of zeros; its first axis is the rows."""
        kind = jnp.dtype(dtype)
        if self.noted(f"{name}.dtype") is None:
            files = {"rows": (shape, f"u{kind.itemsize}"), "done": (shape[:1], "u1")}
            for part, (size, integer) in files.items():
                open_memmap(self._folder / f"{name}.{part}.npy", "w+", integer, size).flush()
            self.note(f"{name}.dtype", kind.name)  # comes last: without it, nothing was made
        rows = self.open(name)
        assert rows is not None
        return rows

    def note(self, name: str, value: Any) -> None:
        """Writes a value that JSON holds, whole or not at all."""
        runtime.write_text(self._folder / f"{name}.json", json.dumps(value, indent=1))

    def noted(self, name: str) -> Any:
        """What was noted, None if nothing."""
        file = self._folder / f"{name}.json"
        return json.loads(file.read_text()) if file.exists() else None
