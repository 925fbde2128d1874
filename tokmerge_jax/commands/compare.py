"""Puts the results of evaluations side by side.

Example:
  tokmerge compare results/demo_unmerged results/demo
"""

import rich

from tokmerge_jax import command_line, commands, objects
from tokmerge_jax.evaluation import report
from tokmerge_jax.objects import Place


def run() -> None:
    """Reads results and prints one table; exit code 2 on bad input."""
    parser = commands.parser(__doc__)
    parser.add_argument("results", nargs="+", help="folders or results.json")
    paths = parser.parse_args().results
    with command_line.reported():
        results = map(objects.place, paths)
        rich.print(report.compare({name(path): report.read(path) for path in results}))


def name(path: Place) -> str:
    """The name of a run: its folder."""
    return str(path.parent if path.suffix == ".json" else path).removeprefix("results/")
