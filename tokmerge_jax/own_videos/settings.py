"""The settings that an index keeps, so that a search needs no configuration of its own."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np

from tokmerge_jax import disk, registry, runtime
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


@contextlib.contextmanager
def guarded(place: pathlib.Path) -> Iterator[None]:
    """Turns any error caused by a damaged or foreign configuration into a UserError."""
    try:
        with disk.explained(place):
            yield
    except UserError:
        raise
    except Exception as error:  # a damaged configuration may fail anywhere, with any error
        raise _invalid(place, f"{type(error).__name__}: {error!s:.200}") from error


def restored(place: pathlib.Path, kept: Mapping[str, Json]) -> Config:
    """Restores the configuration of an index.

    Raises:
      UserError: if it is invalid.
    """
    try:
        return restore(registry.config_class(kept["system"]), kept)
    except UserError as error:
        raise _invalid(place, str(error)) from error


def _invalid(place: pathlib.Path, why: str) -> UserError:
    """The error of an index whose configuration cannot be used."""
    return damaged(place, f"no valid configuration: {why}")
