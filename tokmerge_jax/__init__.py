"""Video token merging in JAX. The public names are imported when they are first used."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokmerge_jax.registry import build as build

__version__ = "0.1.0"

_LAZY = {"build": "tokmerge_jax.registry"}
_ROOMS = ("convert", "data", "evaluation", "merging", "search", "training")

__all__ = ["__version__", "build"]


def __getattr__(name: str) -> Any:  # whatever the name is of
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
