"""Systems by name. A system is a module with `build(config) -> System`, imported when asked for.

The rooms below `systems/` (checkpoints, above all) reach a system through its name alone, so that a
fifth system, or a user's own, needs no change in them.
"""

import importlib
import typing
from types import ModuleType

from tokmerge_jax.config import Config
from tokmerge_jax.system import System
from tokmerge_jax.types import UserError

_SYSTEMS = {
    "tds_clip": "tokmerge_jax.systems.tds_clip",
    "tempme": "tokmerge_jax.systems.tempme",
    "testa": "tokmerge_jax.systems.testa.retrieval",
    "testa_pretrain": "tokmerge_jax.systems.testa.pretraining",
    "testa_qa": "tokmerge_jax.systems.testa.qa",
    "vid_tldr": "tokmerge_jax.systems.vid_tldr.retrieval",
    "vid_tldr_qa": "tokmerge_jax.systems.vid_tldr.qa",
}


def register(name: str, module: str) -> None:
    """Makes `build` find the system `name` in the importable module `module`."""
    _SYSTEMS[name] = module


def names() -> list[str]:
    """All names that `build` knows."""
    return sorted(_SYSTEMS)


def build(config: Config) -> System:
    """The system that `config.system` names, built from `config`.

    Raises:
      UserError: if the name is unknown or a value of the configuration cannot work.
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
    """The class of the configurations that a system is built from: what its `build` takes.

    Raises:
      UserError: if there is no such system.
    """
    return typing.get_type_hints(_module(system).build).get("config", Config)


def _module(system: str) -> ModuleType:
    if system not in _SYSTEMS:
        known = ", ".join(names())
        raise UserError(f"config.system={system!r} is no known system; known: {known}")
    return importlib.import_module(_SYSTEMS[system])
