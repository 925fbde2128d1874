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

_LIMITS = {"depth": 64, "frames": 4096, "image_size": 4096}
_LIMIT = 2**20  # of other sizes


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
    _check_sizes(config.get("model", ConfigDict()))
    return importlib.import_module(_SYSTEMS[config.system]).build(config)


def _check_sizes(part: ConfigDict, key: str = "config.model") -> None:
    """Refuses sizes that no network has: laying one out would take hours, or all memory."""
    for name, value in part.items():
        if isinstance(value, ConfigDict) and name != "merger":
            _check_sizes(value, f"{key}.{name}")
        elif isinstance(value, int) and value > (limit := _LIMITS.get(name, _LIMIT)):
            raise UserError(f"{key}.{name}={value} is no network's size; take at most {limit}")
