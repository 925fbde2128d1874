"""Imports a network from an original's checkout without what it imports and does not use."""

import pathlib
import sys
import types
from typing import Any


def stand_in(name: str, **content: Any) -> types.ModuleType:
    """A module in place of one that is not needed, with the content that is imported from it."""
    parts = name.split(".")
    for i in range(1, len(parts) + 1):
        sys.modules[".".join(parts[:i])] = types.ModuleType(".".join(parts[:i]))
    vars(sys.modules[name]).update(content)
    return sys.modules[name]


def package(name: str, folder: pathlib.Path) -> None:
    """Makes a folder the package `name`, whose own `__init__.py` would import more."""
    module = types.ModuleType(name)
    module.__path__ = [str(folder)]
    sys.modules[name] = module
