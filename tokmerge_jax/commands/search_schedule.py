"""Finds the merging schedule with the best metric within a cost budget.

Examples:
  tokmerge search_schedule --config demo --budget 0.6
  tokmerge search_schedule --config demo_qa --budget 0.5 --trials 60
  tokmerge search_schedule --config msrvtt_b16 --budget 0.55 --split train \\
      --config.checkpoint=weights/msrvtt_b16 --config.eval.rerank=False

The budget is a share of the GMAC without merging; the metric is the headline of `tokmerge eval`.
Schedules of the configuration's merger are evaluated on a validation split: first uniform ones (the
same r in each of the first m layers) and the configuration's own if it is within the budget, then
variations of the best one.

Results are in `search/SPLIT/` in the configuration's output: each evaluation as a line of
`trials.jsonl` and a folder in `schedules/WEIGHTS/` for `tokmerge compare`; the table of a search,
as JSON, in `budget_BUDGET.json`. After a stop or kill, the same command resumes; with another
budget or more trials, it evaluates only new schedules.
"""

from collections.abc import Mapping
from typing import Any

import rich
import rich.table
from absl import flags

from tokmerge_jax import command_line
from tokmerge_jax.config import Config
from tokmerge_jax.merging import schedule
from tokmerge_jax.tasks.schedules import search_schedule

_BUDGET = flags.DEFINE_float("budget", 0.6, "largest cost, as a share of GMAC without merging")
_SPLIT = flags.DEFINE_string("split", "val", "the split to evaluate on")
_TRIALS = flags.DEFINE_integer("trials", 40, "number of schedules to evaluate", lower_bound=1)


def main(config: Config) -> None:
    """Searches; prints the table and the best schedule as an option."""
    folder = command_line.output(config) / "search" / _SPLIT.value
    with command_line.resumable():
        content = search_schedule(
            config,
            folder,
            name=command_line.config_name(),
            budget=_BUDGET.value,
            split=_SPLIT.value,
            trials=_TRIALS.value,
        )
    rich.print(table(content))
    if len(content["schedules"]) == _TRIALS.value:
        print(f"Stopped after {_TRIALS.value} schedules; a larger --trials continues from here.")
    print(f"Results are in {folder}. The best schedule as an option:")
    print(f"    --config.model.merger.r={schedule.literal(content['best'])}")


def table(content: Mapping[str, Any]) -> rich.table.Table:
    """The schedules of `search_schedule`, best first."""
    share = f"at most {content['budget']:.0%} of the GMAC"
    result = rich.table.Table(title=f"{content['name']}, {content['split']}: {share}")
    result.add_column("r")
    result.add_column("from")
    for column in ("tokens out", "GMAC", "share", content["metric"]):
        result.add_column(column, justify="right")
    for row in content["schedules"]:
        cost = f"{row['gmac']:.3f}" if row["gmac"] < 10 else f"{row['gmac']:.1f}"
        r = ", ".join(map(str, row["r"]))
        cells = str(row["tokens_out"]), cost, f"{row['share']:.1%}", f"{row['value']:.1f}"
        result.add_row(r, row["from"], *cells)
    return result


def run() -> None:
    """Runs the command."""
    command_line.run(main, several=True)
