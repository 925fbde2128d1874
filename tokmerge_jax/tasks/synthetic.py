"""Systems, weights and sizes for scripts that time networks on random input.

It has no flags, so that every script can import it.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from tokmerge_jax import registry, runtime
from tokmerge_jax.config import Config
from tokmerge_jax.signatures import Array, Features
from tokmerge_jax.system import System
from tokmerge_jax.types import Params, UserError

R = TypeVar("R")

_ONES = "scale", "var"  # of normalisation


def changed(config: Config, values: Mapping[str, Any]) -> Config:
    """The configuration with other values of keys of its model, such as "merger.r"."""
    return config.override({f"model.{key}": value for key, value in values.items()})


def unmerged(config: Config) -> System:
    """The system of a configuration, without its merging."""
    return registry.build(changed(config, {"merger.name": "none"}))


def random_weights(system: System) -> Params:
    """Random parameters on the device, drawn by what their names say.

    A compiler takes a minute for the system's own initialisation.
    """
    rng = np.random.default_rng(system.config.seed)

    def draw(name: str, shape: Any) -> np.ndarray:  # a leaf, which flax's types do not say
        if name in _ONES or not shape.shape:
            return np.ones(shape.shape, shape.dtype)
        return 0.02 * rng.standard_normal(shape.shape, shape.dtype)

    shapes = flatten_dict(system.weights.shapes)
    return jax.device_put(unflatten_dict({path: draw(path[-1], x) for path, x in shapes.items()}))


def fitting(params: Params, system: System) -> Params:
    """The parameters of a system, selected from those of one that has more."""
    flat = flatten_dict(params)
    return unflatten_dict({name: flat[name] for name in flatten_dict(system.weights.shapes)})


def frames_shape(system: System) -> tuple[int, ...]:
    """The shape of a clip that the network reads: frames (with neighbours) and pixels."""
    vision = system.config.model.vision
    frames = vision.frames * system.config.data.neighbours
    return frames, vision.image_size, vision.image_size, 3


def encoder(system: System) -> Callable[[Params, Array], Features | jax.Array]:
    """The system's function of videos: it encodes them, or recognises their actions."""
    if system.recognition:
        return system.recognition.classify
    return needed(system, system.retrieval or system.answering).encode_video


def needed(system: System, record: R | None) -> R:
    """A record of the system; raises UserError if it has none."""
    if record is None:
        raise UserError(f"config.system={system.name!r} cannot do what is to be timed")
    return record


def clip_macs(system: System) -> int:
    """Multiply-accumulates of encoding a clip."""
    return sum(layer.macs for layer in system.merging.cost)


def machine() -> dict[str, Any]:
    """Versions, devices and number of cores, on which seconds depend."""
    return {**runtime.versions(), "cores": os.cpu_count()}
