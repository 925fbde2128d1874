"""Numbers of the original programs, from the files in tests/goldens: `golden.load(case)`.

A case stores inputs that are not drawn from a seed, expected outputs and the names and shapes of
its weights; `recipe.py` draws the weights themselves.
"""

import dataclasses
import json
import re
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
_LAYER = re.compile(r"(x_layers)_(\d+)/")


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
        """Every parameter by its name in a checkpoint; the layers of a stack in one array.

        The index scales those with some endings, and some by their names.
        """
        spec = self.spec
        drawn = recipe.state_dict(spec["shapes"], spec["seed"], spec["gain"])
        for name, factor in spec.get("factors", {}).items():
            drawn[name] *= np.float32(factor)
        scales = spec.get("weights_scale", {})
        for name in drawn if scales else ():
            drawn[name] = drawn[name] * _scale(name, scales)
        return _stacked(drawn)


def _scale(name: str, scales: Mapping[str, float]) -> np.float32:
    return np.float32(next((x for end, x in scales.items() if name.endswith(end)), 1))


def _stacked(drawn: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Joins the arrays of `x_layers_0`, `x_layers_1`, ... along a new first axis, as `x_layers`.

    It empties `drawn` on the way: a full-size network would need twice its memory.
    """
    stacks: dict[str, list[str]] = {}
    for name in sorted(drawn, key=_layer):
        stacks.setdefault(stacked(name), []).append(name)
    return {
        name: np.stack([drawn.pop(layer) for layer in layers])
        if "x_layers/" in name
        else drawn.pop(layers[0])
        for name, layers in stacks.items()
    }


def stacked(name: str) -> str:
    """The name of the array that holds the parameter `name` of all layers."""
    return _LAYER.sub(r"\1/", name)


def _layer(name: str) -> int:
    """The number of a name's layer; 0 if it has none."""
    number = _LAYER.search(name)
    return int(number[2]) if number else 0


def load(name: str) -> Golden:
    """The case `name`, read from its .json and, where it has one, its .npz file."""
    spec = json.loads((FOLDER / f"{name}.json").read_text())
    file = FOLDER / f"{name}.npz"
    arrays = dict(np.load(file)) if file.exists() else {}
    return Golden(name, spec, arrays)


def parameters(system: System, weights: Mapping[str, np.ndarray]) -> Params:
    """`checkpoints.from_torch` of a system that is built already (building takes longest)."""
    return rules.load(checkpoints.table(system, weights), weights, system.weights.shapes)
