"""The subcommands of `tokmerge`: one module each, with a function `run`, imported when it is run.

The files of `scripts/` in a checkout run the same functions.
"""

import argparse
import ast
import difflib
import gc
import importlib
import pathlib
import sys
from types import ModuleType

import tokmerge_jax

_FOLDER = pathlib.Path(__file__).parent
_GARBAGE = 10_000, 10, 100
"""Thresholds of Python's search for cycles. Imports and tracing make millions of objects, few in
cycles: with Python's own thresholds, the search takes a tenth of their time."""


def main() -> None:
    """Runs the subcommand that the command line names, as `tokmerge` and `python -m tokmerge_jax`.

    This module imports only the standard library, so that help and completion answer at once.
    """
    name, *rest = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(_help())
        return
    if name == "--version":
        print(f"tokmerge_jax {tokmerge_jax.__version__}")
        return
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]}?" if near else "see tokmerge --help"
        print(f"{name!r} is not a command of tokmerge; {hint}", file=sys.stderr)
        sys.exit(2)
    sys.argv = [f"tokmerge {name}", *rest]
    run(name)


def run(name: str) -> None:
    """Runs a subcommand on the arguments in `sys.argv`."""
    imported(name).run()


def imported(name: str) -> ModuleType:
    """The module of a subcommand."""
    gc.set_threshold(*_GARBAGE)
    return importlib.import_module(f"{__name__}.{name}")


def names() -> list[str]:
    """The names of all subcommands."""
    return sorted(path.stem for path in _FOLDER.glob("[!_]*.py"))


def summary(name: str) -> str:
    """The first line of a subcommand's docstring, read without importing the module."""
    text = ast.get_docstring(ast.parse((_FOLDER / f"{name}.py").read_text("utf-8"))) or ""
    return text.partition("\n")[0]


def parser(doc: str | None) -> argparse.ArgumentParser:
    """The parser of a program that reads no configuration, whose help is its docstring."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def _help() -> str:
    """The list of the subcommands."""
    rows = [f"  {name:<16}{summary(name)}" for name in names()]
    return "\n".join(
        [
            "Merges tokens in video transformers.",
            "",
            "Usage: tokmerge COMMAND --config NAME_OR_FILE [--config.KEY=VALUE ...]",
            "",
            *rows,
            "",
            "`tokmerge COMMAND --help` shows options, `tokmerge configs` the configurations.",
        ]
    )
