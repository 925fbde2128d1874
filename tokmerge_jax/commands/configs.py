"""Lists the configurations: task, GMAC of a video, published number.

Examples:
  tokmerge configs
  tokmerge configs "testa*"

GMAC are those of encoding one video as the configuration merges, and their share of the GMAC
without merging. The published number is one with this merging, if there is one; a number "without
merging" or with other settings is marked by a star.
"""

from collections.abc import Iterable

import rich
from rich.table import Table

from tokmerge_jax import api, command_line, commands, registry
from tokmerge_jax.config import files
from tokmerge_jax.config.published import SHORT, Published
from tokmerge_jax.data.datasets import specs
from tokmerge_jax.system import System
from tokmerge_jax.types import UserError

_TASKS = {
    "captions": "retrieval",
    "choices": "multiple choice",
    "questions": "questions",
    "actions": "actions",
}

STAR = "* published without merging, or with other settings"


def run() -> None:
    """Prints the table; exit code 2 if no name fits."""
    parser = commands.parser(__doc__)
    parser.add_argument("pattern", nargs="?", default="*", help="of the names, as a shell's")
    pattern = parser.parse_args().pattern
    with command_line.reported():
        names = api.list_configs(pattern)
        if not names:
            raise UserError(f"no configuration is named {pattern!r}; see tokmerge configs")
        rich.print(table(names))
        print(STAR)


def table(names: Iterable[str]) -> Table:
    """A table of configurations."""
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))  # 80 letters wide
    rows.add_column("name", no_wrap=True)
    rows.add_column("task")
    for column in ("GMAC", "share"):
        rows.add_column(column, justify="right")
    rows.add_column("published")
    for name in names:
        config, publication = files.read(name)
        system = registry.build(config)
        plain = registry.build(config.override({"model.merger.name": "none"}))
        gmac = system.merging.gmac
        number = published(publication.numbers) if publication else ""
        cost = f"{gmac:.3f}" if gmac < 10 else f"{gmac:.1f}"
        rows.add_row(name, task(system), cost, f"{gmac / plain.merging.gmac:.0%}", number)
    return rows


def task(system: System) -> str:
    """The task of a configuration's data set."""
    if system.captioning:
        return "captioning"
    return _TASKS[specs.SPECS[system.config.data.dataset].kind]


def published(numbers: Iterable[Published]) -> str:
    """The number to compare with: the first of the same settings, or else the first, starred."""
    number = min(numbers, key=lambda number: bool(number.changes))
    star = "*" if number.changes else ""
    return f"{SHORT[number.row]}{number.metric} {number.value:g}{star}"
