"""The registry of systems. A system is a module with `build(config) -> System`, imported lazily.

The rooms below `systems/` reach a system only by its name, so that a new system, or a user's own,
needs no change in them.
"""

import importlib
import typing
from types import ModuleType

from tokmerge_jax.config import Config
from tokmerge_jax.system import System
from tokmerge_jax.types import UserError

_SYSTEMS = {
    "internvideo2": "tokmerge_jax.systems.internvideo2",
    "pe_core": "tokmerge_jax.systems.pe_core",
    "tds_clip": "tokmerge_jax.systems.tds_clip",
    "tempme": "tokmerge_jax.systems.tempme",
    "testa": "tokmerge_jax.systems.testa.retrieval",
    "testa_pretrain": "tokmerge_jax.systems.testa.pretraining",
    "testa_qa": "tokmerge_jax.systems.testa.qa",
    "vid_tldr": "tokmerge_jax.systems.vid_tldr.retrieval",
    "vid_tldr_qa": "tokmerge_jax.systems.vid_tldr.qa",
    "vid_tldr_recognition": "tokmerge_jax.systems.vid_tldr.recognition",
    "videoprism": "tokmerge_jax.systems.videoprism",
}


def register(name: str, module: str) -> None:
    """Registers the importable module `module` as the system `name`, for `build`."""
    _SYSTEMS[name] = module


def names() -> list[str]:
    """All registered names."""
    return sorted(_SYSTEMS)


def is_own(name: str) -> bool:
    """Whether the system is one of this package's."""
    return _SYSTEMS.get(name, "").startswith("tokmerge_jax.systems.")


def build(config: Config) -> System:
    """Builds the system that `config.system` names.

    Raises:
      UserError: if the name is unknown or a value of the configuration is invalid.
    """
    kind = config_class(config.system)
    if not isinstance(config, kind):
        raise UserError(
            f"config.system={config.system!r} is built from a {kind.__name__} of {kind.__module__};"
            " choose a configuration of that system"
        )
    config = config.resolved()
    config.check()
    return _module(config.system).build(config)


def config_class(system: str) -> type[Config]:
    """The configuration class that a system's `build` takes.

    Raises:
      UserError: if there is no such system.
    """
    return typing.get_type_hints(_module(system).build).get("config", Config)


def _module(system: str) -> ModuleType:
    if system not in _SYSTEMS:
        known = ", ".join(names())
        raise UserError(f"config.system={system!r} is unknown; known: {known}")
    return importlib.import_module(_SYSTEMS[system])
