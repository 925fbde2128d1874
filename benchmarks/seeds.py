"""How much of the demos' figures is chance: their trainings again, with other seeds.

Examples:
  python -m benchmarks.seeds --seeds 1,2
  python -m benchmarks.seeds --seeds 1,2 --weights demo_testa,demo_testa_plain

A seed draws the first parameters, and the order and crops of the clips, which stay the same. The
trainings are the commands in the docstrings of `configs/demo*.py`, the evaluations those of
`Makefile`; the shipped weights are evaluated beside. All of it is kept in --output: the same
command resumes, also in the middle of a training. The table shows the metric of every run there.
"""

import json
import pathlib
from collections.abc import Mapping, Sequence

import rich.box
import rich.console
import rich.table
from absl import flags

from benchmarks.seeds_recipes import evaluations, recipes
from benchmarks.seeds_runs import SHIPPED, Seed
from tokmerge_jax import command_line
from tokmerge_jax.types import UserError

_WIDTH = 150  # characters; a row of Markdown must not be folded

_SEEDS = flags.DEFINE_list("seeds", [], "the seeds to train with; none: only the shipped weights")
_WEIGHTS = flags.DEFINE_list("weights", [], "names of weights; default: all that are trained")
_OUTPUT = flags.DEFINE_string("output", "results/seeds", "the folder for all of it")
_DATA = flags.DEFINE_string("data", "data", "the folder of the demos' clips")


def main(arguments: list[str]) -> None:
    """Trains and evaluates what is missing, and prints the table."""
    if arguments:
        raise UserError(f"unknown argument {arguments[0]!r}; options begin with --, see --help")
    output, data = (pathlib.Path(flag.value).absolute() for flag in (_OUTPUT, _DATA))
    known = recipes()
    names = _WEIGHTS.value or [*known]
    if unknown := sorted(set(names) - set(known)):
        raise UserError(f"--weights={unknown[0]} is not trained; choose from {', '.join(known)}")
    with command_line.resumable():
        for folder, number in _folders(_SEEDS.value).items():
            seed = Seed(output / folder, number, data, known)
            for name in names:
                seed.train(name)
                seed.evaluate(name)
    rich.console.Console(width=_WIDTH).print(table(read(output)))


def _folders(seeds: Sequence[str]) -> dict[str, int | None]:
    """The name of each seed's folder -> its number, None for the shipped weights."""
    if wrong := [seed for seed in seeds if not seed.isdecimal()]:
        raise UserError(f"--seeds={wrong[0]} is not a number; write --seeds 1,2")
    return {SHIPPED: None, **{f"seed_{int(seed)}": int(seed) for seed in seeds}}


def read(output: pathlib.Path) -> dict[str, dict[str, tuple[str, float]]]:
    """Run -> seed's folder -> name and value of its metric."""
    folders = [SHIPPED, *sorted(path.name for path in output.glob("seed_*"))]
    files = {
        run: {folder: output / folder / "results" / run / "results.json" for folder in folders}
        for run in evaluations()
    }
    return {
        run: {seed: _headline(file) for seed, file in each.items() if file.exists()}
        for run, each in files.items()
        if any(file.exists() for file in each.values())
    }


def _headline(file: pathlib.Path) -> tuple[str, float]:
    metric = json.loads(file.read_text())["headline"]
    return metric["name"], metric["value"]


def table(runs: Mapping[str, Mapping[str, tuple[str, float]]]) -> rich.table.Table:
    """A table of the runs, with the mean and the range over the seeds; Markdown can hold it."""
    seeds = [*dict.fromkeys(seed for run in runs.values() for seed in run)]
    view = rich.table.Table(box=rich.box.MARKDOWN)
    for title in ("run", "metric"):
        view.add_column(title, no_wrap=True)
    for title in (*seeds, "mean", "lowest to highest"):
        view.add_column(title, justify="right", no_wrap=True)
    for run, metrics in runs.items():
        values = [value for _, value in metrics.values()]
        name = next(iter(metrics.values()))[0]
        each = (f"{metrics[seed][1]:.1f}" if seed in metrics else "-" for seed in seeds)
        mean, extent = sum(values) / len(values), f"{min(values):.1f} to {max(values):.1f}"
        view.add_row(run, name, *each, f"{mean:.1f}", extent)
    return view


if __name__ == "__main__":
    command_line.run_commands(main)
