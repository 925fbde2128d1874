"""Video token merging in JAX: models by name (`inference`), whole jobs (`api`), and their parts.

Everything is imported lazily, so that importing the package costs nothing.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokmerge_jax import api as api
    from tokmerge_jax import checkpoints as checkpoints
    from tokmerge_jax import command_line as command_line
    from tokmerge_jax import commands as commands
    from tokmerge_jax import config as config
    from tokmerge_jax import configs as configs
    from tokmerge_jax import data as data
    from tokmerge_jax import evaluation as evaluation
    from tokmerge_jax import inference as inference
    from tokmerge_jax import kernels as kernels
    from tokmerge_jax import layers as layers
    from tokmerge_jax import merging as merging
    from tokmerge_jax import models as models
    from tokmerge_jax import mteb as mteb
    from tokmerge_jax import own_videos as own_videos
    from tokmerge_jax import systems as systems
    from tokmerge_jax import tasks as tasks
    from tokmerge_jax import training as training
    from tokmerge_jax import visualize as visualize
    from tokmerge_jax.api import configuration as configuration
    from tokmerge_jax.api import convert as convert
    from tokmerge_jax.api import draw_clips as draw_clips
    from tokmerge_jax.api import evaluate as evaluate
    from tokmerge_jax.api import index as index
    from tokmerge_jax.api import list_configs as list_configs
    from tokmerge_jax.api import list_systems as list_systems
    from tokmerge_jax.api import load as load
    from tokmerge_jax.api import prepare as prepare
    from tokmerge_jax.api import search as search
    from tokmerge_jax.api import train as train
    from tokmerge_jax.inference import Model as Model
    from tokmerge_jax.registry import build as build
    from tokmerge_jax.session import check_session as check_session
    from tokmerge_jax.types import UserError as UserError

__version__ = "0.1.0"

_ROOMS = ("api", "checkpoints", "command_line", "commands", "config", "configs", "data",
          "evaluation", "inference", "kernels", "layers", "merging", "models", "mteb",
          "own_videos", "serving", "systems", "tasks", "training", "visualize")  # fmt: skip
_NAMES = {
    "Model": "inference",
    "UserError": "types",
    "build": "registry",
    "check_session": "session",
    "configuration": "api",
    "convert": "api",
    "draw_clips": "api",
    "evaluate": "api",
    "index": "api",
    "list_configs": "api",
    "list_systems": "api",
    "load": "api",
    "prepare": "api",
    "search": "api",
    "train": "api",
}


def __dir__() -> list[str]:
    return sorted(["__version__", *_ROOMS, *_NAMES])


if not TYPE_CHECKING:  # a type checker would take any name for one of these

    def __getattr__(name: str) -> object:
        if name in _NAMES:
            return getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
        if name in _ROOMS:
            return importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
