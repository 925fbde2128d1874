"""How much of the demos' figures is chance: their trainings again, with other seeds.

Examples:
  python -m benchmarks.seeds --seeds 1,2
  python -m benchmarks.seeds --seeds 1,2 --weights demo_testa,demo_testa_plain

A seed draws the first parameters, and the order and crops of the clips, which stay the same. The
trainings are the commands in the docstrings of `configs/demo*.py`, the evaluations those of
`Makefile`; the shipped weights are evaluated beside. All of it is kept in --output: the same
command resumes, also in the middle of a training. The table shows the metric of every run there.
"""

import pathlib
from collections.abc import Sequence

import rich.console
from absl import flags

from benchmarks.seeds_recipes import recipes
from benchmarks.seeds_runs import SHIPPED, Seed
from benchmarks.seeds_table import read, table
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


if __name__ == "__main__":
    command_line.run_commands(main)
