"""Puts the results of evaluations side by side.

Example:
  tokmerge compare results/demo_unmerged results/demo
"""

import argparse
import pathlib

import rich

from tokmerge_jax import command_line
from tokmerge_jax.evaluation import report


def run() -> None:
    """Reads results and prints one table; exit code 2 on bad input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="+", type=pathlib.Path, help="folders or results.json")
    paths = parser.parse_args().results
    with command_line.reported():
        rich.print(report.compare({name(path): report.read(path) for path in paths}))


def name(path: pathlib.Path) -> str:
    """The name of a run: its folder."""
    return str(path.parent if path.suffix == ".json" else path).removeprefix("results/")
