"""Numbers of the original programs, from the files in tests/goldens: `golden.load(case)`.

A case stores inputs that are not drawn from a seed, expected outputs and the names and shapes of
its weights; `recipe.py` draws the weights themselves.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import recipe

from tokmerge_jax import checkpoints
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.system import System
from tokmerge_jax.types import Params

FOLDER = Path(__file__).parents[1] / "goldens"


@dataclasses.dataclass(frozen=True)
class Golden:
    """One case.

    Attributes:
      name: the case, for example "vidtldr-tiny".
      spec: the whole index: what, seed, gain, shapes, config, inputs, outputs, ...
      arrays: inputs and expected outputs by name; empty where the index says it all.
    """

    name: str
    spec: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]

    @property
    def config(self) -> Mapping[str, Any]:
        """Sizes and options of the case."""
        return self.spec["config"]

    def weights(self) -> dict[str, np.ndarray]:
        """Every parameter by its PyTorch name; the index scales those with some endings."""
        drawn = recipe.state_dict(self.spec["shapes"], self.spec["seed"], self.spec["gain"])
        scales = self.spec.get("weights_scale", {})
        return {name: x * _scale(name, scales) if scales else x for name, x in drawn.items()}


def _scale(name: str, scales: Mapping[str, float]) -> np.float32:
    return np.float32(next((x for end, x in scales.items() if name.endswith(end)), 1))


def load(name: str) -> Golden:
    """The case `name`, read from its .json and, where it has one, its .npz file."""
    spec = json.loads((FOLDER / f"{name}.json").read_text())
    file = FOLDER / f"{name}.npz"
    arrays = dict(np.load(file)) if file.exists() else {}
    return Golden(name, spec, arrays)


def parameters(system: System, weights: Mapping[str, np.ndarray]) -> Params:
    """`checkpoints.from_torch` of a system that is built already (building takes longest)."""
    return rules.load(checkpoints.table(system, weights), weights, system.weights.shapes)
