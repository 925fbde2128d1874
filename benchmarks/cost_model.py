"""Measures what merging saves in seconds, not only in GMAC: times schedules and fits a model.

Examples:
  python -m benchmarks.cost_model --config demo --rounds 9
  python -m benchmarks.cost_model --config msrvtt_b16 \\
      --schedules "100x10; 300,100,50; 600,200,100; 1000x1; 1100x1"
  python -m benchmarks.cost_model --config testa_didemo_f32 \\
      --schedules "12; merger.r=0; merger.frames=0; merger.frames=2 merger.r=24"

Clips of noise are encoded without merging and with each of --schedules, separated by semicolons: a
value of config.model.merger.r (100x10 is 100 in each of 10 layers), or keys of config.model
(merger.* and join.*) with their values. By default the configuration's schedule is scaled from a
quarter to one and a half, as far as possible, and spread evenly over the layers.

Every round runs each schedule once, so that a busy minute of the machine slows all equally; medians
are compared. A model of the time (`evaluation/time_model.py`) is fitted and predicts each
schedule's seconds from the others; errors no larger than the variation between rounds are noise of
the machine. The output folder gets `results.json`, `tokens_to_time.png`, and, after each round,
`rounds.json`: after a stop, or with more --rounds, the same command resumes.
"""

import dataclasses
import json
import pathlib
import shlex
import statistics
import sys
from collections.abc import Mapping, Sequence

import rich.console
import rich.table
from absl import flags

from benchmarks.schedules import automatic, requested
from tokmerge_jax import command_line, objects, registry, runtime
from tokmerge_jax.config import Config
from tokmerge_jax.evaluation import time_model
from tokmerge_jax.system import System
from tokmerge_jax.tasks import speed
from tokmerge_jax.tasks.synthetic import machine, unmerged
from tokmerge_jax.types import Json, UserError
from tokmerge_jax.visualize import time_model as picture

_SCHEDULES = flags.DEFINE_string("schedules", "", "what to time beside no merging; see above")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "timed runs of each schedule", lower_bound=1)
_CLIPS = flags.DEFINE_integer("clips", 1, "clips that are encoded at a time", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "", "the folder; default: cost_model/ in config.output")


def main(config: Config) -> None:
    """Times the schedules, fits, prints the table and writes the folder."""
    own = registry.build(config)
    if config.model.merger.name == "none":
        raise UserError(
            "config.model.merger.name=none merges nothing; name the merger whose schedules to time"
        )
    systems = {speed.NONE: unmerged(config)}
    systems.update(requested(config, _SCHEDULES.value) if _SCHEDULES.value else automatic(own))
    if len(systems) < time_model.LEAST:
        raise UserError(
            f"--schedules: {len(systems)}, no merging among them, are too few for a model of the"
            f" time; name more, so that there are at least {time_model.LEAST}"
        )
    name = _OUTPUT.value or f"{command_line.output(config)}/cost_model"
    folder = objects.local(objects.place(name), "cost models")
    folder.mkdir(parents=True, exist_ok=True)
    with command_line.resumable():
        rounds = speed.measure(own, systems, folder / "rounds.json", _CLIPS.value, _ROUNDS.value)
    report(config, systems, rounds, folder)


def report(
    config: Config,
    systems: Mapping[str, System],
    rounds: speed.Rounds,
    folder: pathlib.Path,
) -> None:
    """Fits, prints the table, writes results.json and the picture."""
    rows = _rows(systems, rounds)
    costs = [system.merging.cost for system in systems.values()]
    model = time_model.fit(costs, [row["seconds"] for row in rows])
    content = {
        **speed.content(config, command_line.config_name(), _CLIPS.value, rows, rounds),
        "model": dataclasses.asdict(model),
        "command": shlex.join(sys.argv),
    }
    runtime.write_text(folder / "results.json", json.dumps(content, indent=1) + "\n")
    title = f"{command_line.config_name()}, {machine()['devices']}"
    picture.draw(rows, title).savefig(folder / "tokens_to_time.png")
    rich.console.Console(width=130).print(table(rows, title))
    errors = [abs(row["error"]) for row in rows]
    print(f"Errors are {statistics.mean(errors):.1%} on average, at most {max(errors):.1%}.")
    print(f"Results and the picture are in {folder}.")


def _rows(systems: Mapping[str, System], rounds: speed.Rounds) -> list[dict[str, Json]]:
    """`speed.rows`, with each schedule's seconds predicted from those of the others."""
    rows = speed.rows(systems, rounds)
    costs = [system.merging.cost for system in systems.values()]
    predicted = time_model.leave_one_out(costs, [row["seconds"] for row in rows])
    return [
        {
            **row,
            "predicted": seconds,
            "error": seconds / row["seconds"] - 1,
            "mac_ratio": 1 / row["share"],
        }
        for row, seconds in zip(rows, predicted, strict=True)
    ]


def table(rows: Sequence[Mapping[str, Json]], title: str) -> rich.table.Table:
    """A table of the schedules; seconds are predicted from the measurements of the others."""
    view = rich.table.Table(title=title)
    view.add_column("schedule")
    for column in ("tokens", "GMAC", "s", "min-max s", "predicted", "error", "speed-up", "by GMAC"):
        view.add_column(column, justify="right")
    for row in rows:
        view.add_row(
            row["merging"],
            str(row["tokens_out"]),
            f"{row['gmac']:.4g}",
            f"{row['seconds']:.4g}",
            f"{row['fastest']:.3g}-{row['slowest']:.3g}",
            f"{row['predicted']:.4g}",
            f"{row['error']:+.1%}",
            f"{row['times_as_fast']:.2f}",
            f"{row['mac_ratio']:.2f}",
        )
    return view


if __name__ == "__main__":
    command_line.run(main)
