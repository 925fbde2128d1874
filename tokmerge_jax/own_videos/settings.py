"""The settings that an index keeps, so that a search needs no configuration of its own."""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np

from tokmerge_jax import registry, runtime
from tokmerge_jax.config import Config, expect
from tokmerge_jax.config.common import TextData
from tokmerge_jax.config.parts import restore
from tokmerge_jax.own_videos import index
from tokmerge_jax.own_videos.damage import damaged
from tokmerge_jax.system import System
from tokmerge_jax.types import Json, UserError


def portable(system: System) -> System:
    """The system with a configuration that can be stored: full paths, explicit r and dtype."""
    config, vocabulary = system.config, expect(system.config.data, TextData).vocabulary
    changes = {
        "checkpoint": _whole(config.checkpoint),
        "data.vocabulary": _whole(vocabulary) if pathlib.Path(vocabulary).is_file() else vocabulary,
        "dtype": np.dtype(runtime.compute_dtype(config.dtype)).name,
        "model.merger.r": system.merging.schedule.r,
    }
    return dataclasses.replace(system, config=config.override(changes))


def _whole(name: str) -> str:
    """The absolute path, if `name` is an existing file or folder; else `name`."""
    return str(pathlib.Path(name).resolve()) if pathlib.Path(name).exists() else name


def about(place: pathlib.Path) -> dict[str, Json]:
    """Reads what `index_videos` stored: the configuration ("config") and the folder ("videos")."""
    match index.describe(place)["about"]:
        case {"config": dict(), "videos": str()} as kept:
            return kept
    raise damaged(place, "no configuration or folder of videos")


def restored(place: pathlib.Path, kept: Mapping[str, Json]) -> Config:
    """Restores the configuration of an index.

    Raises:
      UserError: if it is invalid.
    """
    try:
        return restore(registry.config_class(str(kept.get("system"))), kept)
    except UserError as error:
        raise damaged(place, f"no valid configuration: {error}") from error
