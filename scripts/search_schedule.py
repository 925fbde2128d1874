"""Finds the merging schedule of the best metric whose cost is within a budget.

Examples:
  python scripts/search_schedule.py --config configs/demo.py --budget 0.6
  python scripts/search_schedule.py --config configs/msrvtt_b16.py --budget 0.55 --split train \
      --config.checkpoint=weights/msrvtt_b16

The budget is a share of the GMAC without merging. Schedules of the configuration's merger are
evaluated on a validation split: first uniform ones (the same r in each of the first m layers), then
changes to the best. Each is kept in `schedules/` under the configuration's output; stopped or
killed, the same command goes on. The table goes to the terminal and to `schedules/search.json`.
"""

import json
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import common
import rich
import rich.table
import tasks
from absl import flags
from ml_collections import ConfigDict
from tqdm import tqdm

from tokmerge_jax import convert, registry, runtime
from tokmerge_jax.evaluation.schedule_search import Schedule, Space, Trial, search
from tokmerge_jax.types import System, UserError

_BUDGET = flags.DEFINE_float("budget", 0.6, "GMAC at most, as a share of those without merging")
_SPLIT = flags.DEFINE_string("split", "val", "the split to evaluate on")
_TRIALS = flags.DEFINE_integer("trials", 40, "how many schedules to evaluate", lower_bound=1)


def main(config: ConfigDict) -> None:
    """Searches, prints the table and the line for a configuration."""
    if config.model.merger.name == "none":
        raise UserError("config.model.merger.name=none merges nothing; name the merger to search")
    if not 0 < _BUDGET.value <= 1:
        raise UserError(f"--budget={_BUDGET.value:g} must be above 0 and at most 1")
    system = registry.build(config)
    layers = system.cost[1:]
    full = gmac(system, (0,) * len(layers))
    space = Space(len(layers), layers[0].tokens_in, lambda r: gmac(system, r), _BUDGET.value * full)
    folder = common.output(config) / "schedules"
    found, headline = run(system, space, folder)
    if not found:
        raise UserError(
            f"--budget={_BUDGET.value:g} is less than any uniform schedule costs; raise it"
        )
    write(folder / "search.json", system, space, found, headline)
    rich.print(table(found, space, full, headline))
    print(f"Put into the configuration:\n    config.model.merger.r = {shown(found[0].r)}")


def run(system: System, space: Space, folder: pathlib.Path) -> tuple[list[Trial], str]:
    """What was tried, best first, and the metric's name."""
    params = convert.load_checkpoint(system.config.checkpoint, system)
    source = tasks.open_source(system, _SPLIT.value)
    name = "metric"
    with tqdm(total=_TRIALS.value, desc="schedules", unit="schedule") as bar:

        def evaluate(r: Schedule) -> float:
            nonlocal name
            built = registry.build(with_schedule(system.config, r))
            place = folder / "-".join(map(str, r))
            known = tasks.fingerprint(built, params, source)
            results = read(place / "results.json", known)
            if results is None:
                results = tasks.evaluate(str(shown(r)), built, params, source, place, _SPLIT.value)
                shutil.rmtree(place / "cache")  # the features of this schedule alone
            name = results["headline"]["name"]
            bar.set_postfix(r=shown(r), value=results["headline"]["value"], refresh=False)
            bar.update()
            return results["headline"]["value"]

        found = search(space, evaluate, _TRIALS.value)
    return found, name


def gmac(system: System, r: Sequence[int]) -> float:
    """Of one clip with this schedule."""
    return sum(layer.macs for layer in system.cost_of(r)) / 1e9


def with_schedule(config: ConfigDict, r: Schedule) -> ConfigDict:
    """The configuration with another schedule."""
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.model.merger.r = r
    return config


def shown(r: Schedule) -> Schedule:
    """The schedule as configurations have it, without the zeros at its end."""
    used = max((layer + 1 for layer, merged in enumerate(r) if merged), default=1)
    return r[:used]


def read(path: pathlib.Path, fingerprint: str) -> Mapping[str, Any] | None:
    """The results of a schedule that was evaluated on the same facts before, None if not."""
    if not path.exists():
        return None
    found = json.loads(path.read_text())
    return found if found["fingerprint"] == fingerprint else None


def write(
    path: pathlib.Path, system: System, space: Space, found: Sequence[Trial], headline: str
) -> None:
    """Everything that was tried, with the protocol."""
    content = {
        "metric": headline,
        "dataset": system.config.data.dataset,
        "split": _SPLIT.value,
        "merger": system.config.model.merger.name,
        "budget_gmac": space.budget,
        "best": shown(found[0].r),
        "trials": [{"r": shown(t.r), "gmac": -t.saving, "value": t.value} for t in found],
    }
    runtime.write_text(path, json.dumps(content, indent=1) + "\n")


def table(found: Sequence[Trial], space: Space, full: float, headline: str) -> rich.table.Table:
    """What was tried, best first."""
    rows = rich.table.Table(
        title=f"{_SPLIT.value} split, at most {space.budget / full:.0%} of GMAC"
    )
    rows.add_column("r")
    for column in ("tokens out", "GMAC", "share", headline):
        rows.add_column(column, justify="right")
    for trial in found:
        left = space.tokens - sum(trial.r)
        cells = f"{-trial.saving:.3f}", f"{-trial.saving / full:.1%}", f"{trial.value:.1f}"
        rows.add_row(", ".join(map(str, shown(trial.r))), str(left), *cells)
    return rows


if __name__ == "__main__":
    common.run(main)
