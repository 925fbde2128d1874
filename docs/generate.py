"""Pages of the site that are made from the code, into docs/generated/, which git ignores.

The reference has a page for each room of the package; the configurations have one together; the
notebooks are copies, with the outputs that they hold.
"""

import importlib
import inspect
import itertools
import pathlib
import shutil

import floors

from tokmerge_jax.config import files

_PACKAGE = floors.ROOT / "tokmerge_jax"
_NO_NOTEBOOK = shutil.ignore_patterns("*.md", "*.py", "__pycache__")
_CONFIGURATIONS = """# Configurations

All files of `tokmerge_jax/configs/`: `--config NAME`, or `tokmerge_jax.load("NAME")`.
Each text is the docstring of its file: what is evaluated, the number to compare with, the
checkpoint (CKPT), the protocol and the command. [The published numbers](../numbers.md) have their
sources.
"""


def pages(folder: pathlib.Path) -> None:
    """Writes all pages into the folder, which is made."""
    rooms = folder / "reference"
    rooms.mkdir(parents=True, exist_ok=True)
    notebooks = folder / "notebooks"
    shutil.rmtree(notebooks, ignore_errors=True)
    shutil.copytree(floors.ROOT / "notebooks", notebooks, ignore=_NO_NOTEBOOK)
    (folder / "configurations.md").write_text(configurations(), "utf-8")
    for room in itertools.chain.from_iterable(floors.floors()):
        if room not in ("commands", "configs"):  # commands print theirs, by --help
            (rooms / f"{room}.md").write_text(reference(room), "utf-8")


def configurations() -> str:
    """The docstrings of all configurations, by system."""
    systems = {name: files.read(name)[0].system for name in files.names()}
    parts = [_CONFIGURATIONS]
    for system, names in itertools.groupby(sorted(systems, key=systems.__getitem__), systems.get):
        parts.append(f"\n## System `{system}`\n")
        for name in names:
            text = inspect.getdoc(importlib.import_module(f"tokmerge_jax.configs.{name}"))
            parts.append(f"\n### {name}\n\n```text\n{text}\n```\n")
    return "".join(parts)


def reference(room: str) -> str:
    """The docstrings of a room (a folder or a file of the package), a section for each module."""
    place = _PACKAGE / room
    modules = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    paths = (module.relative_to(floors.ROOT).with_suffix("").parts for module in modules)
    names = (".".join(path).removesuffix(".__init__") for path in paths)
    parts = (f"## {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n" for name in names)
    return "\n".join([f"# {room}\n", *parts])
