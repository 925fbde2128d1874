"""Times the encoding of clips without and with merging, on the attached device.

Examples:
  tokmerge benchmark --config demo
  tokmerge benchmark --config msrvtt_b16 --batch 32 --merging 600,200,100 \\
      --merging 0.3,0.3,0.3

Seconds are medians of rounds that run each schedule once, in turn; "times as fast" is the median of
the rounds' ratios. Clips are noise and weights random, as speed depends on neither. GMAC are
multiply-accumulates of a clip (what papers call GFLOPs).

--merging is a value of config.model.merger.r, and may be repeated; by default, half of the
configuration's schedule and its own are timed. Results are in `benchmark/` in the configuration's
output, with the machine, versions and every round. After a stop or kill, the same command resumes;
with more --rounds it adds some.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import rich
from absl import flags
from rich.table import Table

from tokmerge_jax import command_line, objects
from tokmerge_jax.config import Config
from tokmerge_jax.tasks.speed import benchmark

_BATCH = flags.DEFINE_integer(
    "batch", 0, "clips encoded at a time; 0 = 1 on a CPU, 32 on an accelerator", lower_bound=0
)
_MERGING = flags.DEFINE_multi_string("merging", [], "a schedule r; may be repeated")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "timed runs of each schedule", lower_bound=1)


def main(config: Config) -> None:
    """Times the schedules; prints the table and where the results are."""
    folder = objects.local(command_line.output(config), "benchmarks") / "benchmark"
    with command_line.resumable():
        content = benchmark(
            config,
            folder,
            name=command_line.config_name(),
            schedules=_MERGING.value,
            clips=_BATCH.value,
            count=_ROUNDS.value,
        )
    rich.print(table(content))
    print(f"Results are in {folder}")


def table(content: Mapping[str, Any]) -> Table:
    """The schedules of `benchmark`."""
    machine = content["machine"]
    title = f"{content['name']}, {content['clips']} at a time, {content['dtype']}"
    shown = Table(title=f"{title}, {machine['devices']}, JAX {machine['jax']}")
    shown.add_column("merging")
    for column in ("tokens out", "GMAC", "share", "s a clip", "clips/s", "times as fast"):
        shown.add_column(column, justify="right")
    for row in content["schedules"]:
        shown.add_row(row["merging"], *figures(row))
    return shown


def figures(row: Mapping[str, Any]) -> Sequence[str]:
    """The figures of a schedule as text."""
    return (
        str(row["tokens_out"]),
        f"{row['gmac']:.3g}",
        f"{row['share']:.0%}",
        f"{row['seconds']:.3g}",
        f"{row['clips_per_second']:.3g}",
        f"{row['times_as_fast']:.2f}",
    )


def run() -> None:
    """Runs the command."""
    command_line.run(main)
