"""Systems by name. A system is a module with `build(config) -> System`, imported when asked for.

The rooms below `systems/` (convert, above all) reach a system through its name alone, so that a
fifth system, or a user's own, needs no change in them.
"""

import importlib

from ml_collections import ConfigDict

from tokmerge_jax.types import System, UserError

_SYSTEMS = {
    "tds_clip": "tokmerge_jax.systems.tds_clip",
    "tempme": "tokmerge_jax.systems.tempme",
    "testa": "tokmerge_jax.systems.testa",
    "testa_pretrain": "tokmerge_jax.systems.testa_pretrain",
    "testa_qa": "tokmerge_jax.systems.testa_qa",
    "vid_tldr": "tokmerge_jax.systems.vid_tldr",
    "vid_tldr_qa": "tokmerge_jax.systems.vid_tldr_qa",
}


def register(name: str, module: str) -> None:
    """Makes `build` find the system `name` in the importable module `module`."""
    _SYSTEMS[name] = module


def build(config: ConfigDict) -> System:
    """The system that `config.system` names, built from `config`.

    Raises:
      UserError: if the name is unknown or a value of the configuration cannot work.
    """
    if config.system not in _SYSTEMS:
        known = ", ".join(sorted(_SYSTEMS))
        raise UserError(f"config.system={config.system!r} is no known system; known: {known}")
    return importlib.import_module(_SYSTEMS[config.system]).build(config)
