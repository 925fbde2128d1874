"""Puts the results of evaluations side by side.

Examples:
  tokmerge compare results/demo_unmerged results/demo
  tokmerge compare --picture costs.png results/demo_unmerged results/demo

The picture shows the metric of each run against its GMAC; a line joins runs of one merger and
checkpoint.
"""

import pathlib
from collections.abc import Sequence

import rich
from matplotlib.backend_bases import FigureCanvasBase
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from tokmerge_jax import command_line, commands, disk, objects
from tokmerge_jax.evaluation import report
from tokmerge_jax.objects import Place
from tokmerge_jax.types import UserError
from tokmerge_jax.visualize import costs

_ENDLESS = 100_000  # columns


def run() -> None:
    """Reads results and prints one table; exit code 2 on bad input."""
    parser = commands.parser(__doc__)
    parser.add_argument("results", nargs="+", help="folders or results.json")
    parser.add_argument("--picture", type=pathlib.Path, help="a .png file to draw")
    arguments = parser.parse_args()
    with command_line.reported():
        if arguments.picture:
            check(arguments.picture)
        places = [*map(objects.place, arguments.results)]
        runs = dict(zip(names(places), map(report.read, places), strict=True))
        show(report.compare(runs))
        if arguments.picture:
            with disk.explained(arguments.picture):
                costs.draw(runs).savefig(arguments.picture)


def check(picture: pathlib.Path) -> None:
    """Raises UserError if Matplotlib cannot write a file of this name."""
    if picture.suffix.lower().removeprefix(".") not in FigureCanvasBase.filetypes:
        raise UserError(f"--picture={picture}: name a file that ends in .png")


def names(places: Sequence[Place]) -> list[str]:
    """The names of runs: their folders, below the last folder that holds all of them.

    A file of results that has another name than the one in a run's folder keeps its name.
    """
    folders = [path.parent if path.name == "results.json" else path for path in places]
    holding = set.intersection(*(set(folder.parents) for folder in folders))
    if not holding:
        return [*map(str, folders)]
    last = max(holding, key=lambda folder: len(folder.parts))
    return [str(folder.relative_to(last)) for folder in folders]


def show(table: Table) -> None:
    """Prints a table; in a file or pipe, it is so wide that no line of it is folded."""
    console = rich.get_console()
    if not console.is_terminal:
        endless = console.options.update(max_width=_ENDLESS)
        needed = Measurement.get(console, endless, table).maximum
        console = Console(width=max(console.width, needed))
    console.print(table)
