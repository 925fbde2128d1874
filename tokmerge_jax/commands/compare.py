"""Puts the results of evaluations side by side.

Examples:
  tokmerge compare results/demo_unmerged results/demo
  tokmerge compare --picture costs.png results/demo_unmerged results/demo

The picture shows the metric of each run against its GMAC; a line joins runs of one merger and
checkpoint.
"""

import pathlib

import rich

from tokmerge_jax import command_line, commands, disk, objects
from tokmerge_jax.evaluation import report
from tokmerge_jax.objects import Place
from tokmerge_jax.visualize import costs


def run() -> None:
    """Reads results and prints one table; exit code 2 on bad input."""
    parser = commands.parser(__doc__)
    parser.add_argument("results", nargs="+", help="folders or results.json")
    parser.add_argument("--picture", type=pathlib.Path, help="a .png file to draw")
    arguments = parser.parse_args()
    with command_line.reported():
        results = map(objects.place, arguments.results)
        runs = {name(path): report.read(path) for path in results}
        rich.print(report.compare(runs))
        if arguments.picture:
            with disk.explained(arguments.picture):
                costs.draw(runs).savefig(arguments.picture)


def name(path: Place) -> str:
    """The name of a run: its folder."""
    return str(path.parent if path.suffix == ".json" else path).removeprefix("results/")
