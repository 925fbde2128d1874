"""Finds the merging schedule of the best metric whose cost is within a budget.

Examples:
  python scripts/search_schedule.py --config configs/demo.py --budget 0.6
  python scripts/search_schedule.py --config configs/demo_qa.py --budget 0.5 --trials 60
  python scripts/search_schedule.py --config configs/msrvtt_b16.py --budget 0.55 --split train \\
      --config.checkpoint=weights/msrvtt_b16 --config.eval.rerank=False

The budget is a share of the GMAC without any merging, the metric the headline of scripts/eval.py.
Schedules of the configuration's merger are evaluated on a validation split: first uniform ones (the
same r in each of the first m layers) and the configuration's own, then changes to the best.

All is kept in `search/SPLIT/` under the configuration's output: each evaluation as a line of
`trials.jsonl` and a folder in `schedules/WEIGHTS/` for scripts/compare.py; the table of a search,
as JSON, in `budget_BUDGET.json`. Stopped or killed, the same command goes on; another budget, or
more trials, evaluates only what is new.
"""

import dataclasses
import json
import pathlib
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import common
import numpy as np
import rich
import rich.table
import tasks
from absl import flags
from tqdm import tqdm

from tokmerge_jax import data, disk, registry, runtime
from tokmerge_jax.config import Config
from tokmerge_jax.data.loader import Refuse
from tokmerge_jax.evaluation.schedule_search import Schedule, Space, Trial, search, uniform
from tokmerge_jax.evaluation.trial_log import TrialLog
from tokmerge_jax.merging import schedule
from tokmerge_jax.progress import tracked
from tokmerge_jax.signatures import Transform
from tokmerge_jax.system import System
from tokmerge_jax.types import Params, UserError

_BUDGET = flags.DEFINE_float("budget", 0.6, "GMAC at most, as a share of those without merging")
_SPLIT = flags.DEFINE_string("split", "val", "the split to evaluate on")
_TRIALS = flags.DEFINE_integer("trials", 40, "how many schedules to evaluate", lower_bound=1)

_KEPT_GIB = 2  # a split whose frames take no more stays in memory


def main(config: Config) -> None:
    """Searches, prints the table and the line for a configuration."""
    config = config.override({"data.split": _SPLIT.value})
    own = registry.build(config)
    plain = registry.build(with_schedule(config, (0,) * len(own.merging.schedule.r)))
    space = budgeted(plain)
    source, params = tasks.inputs(plain)
    folder = common.output(config) / "search" / _SPLIT.value
    known = facts(plain, params, source)
    with disk.held(folder):
        log = TrialLog(folder / "trials.jsonl", known)
        places = folder / "schedules" / known[:8]  # of these weights and videos
        evaluate = Evaluation(plain, params, kept(source, plain), places, log)
        try:
            found = search(space, evaluate, _TRIALS.value, [own.merging.schedule.r])
        except KeyboardInterrupt:
            print("\nStopped; the same command goes on from here.", file=sys.stderr)
            sys.exit(130)
        report(found, plain, space, own.merging.schedule.r, log[found[0].r]["metric"], folder)


def budgeted(plain: System) -> Space:
    """The schedules within --budget.

    Raises:
      UserError: if there are none, or nothing merges.
    """
    if plain.config.model.merger.name == "none":
        raise UserError(
            "config.model.merger.name=none merges nothing; name the merger whose schedule to search"
        )
    if not 0 < _BUDGET.value <= 1:
        raise UserError(f"--budget={_BUDGET.value:g} must be above 0 and at most 1")
    layers, tokens = len(plain.merging.schedule.r), plain.merging.schedule.tokens
    protected, full = plain.merging.schedule.protected, unmerged(plain)
    budget = _BUDGET.value * full
    space = Space(layers, tokens, lambda r: gmac(plain, r), budget, protected)
    if not uniform(space):
        least = gmac(plain, schedule.resolve(tokens, layers, tokens, protected)) / full
        raise UserError(
            f"--budget={_BUDGET.value:g} is out of reach: half of the tokens merging in every layer"
            f" still costs {least:.3f} of the unmerged GMAC; raise it"
        )
    return space


def unmerged(system: System) -> float:
    """GMAC of one clip where nothing merges at all."""
    config = system.config.override({"model.merger.name": "none"})
    return sum(layer.macs for layer in registry.build(config).merging.cost) / 1e9


def gmac(system: System, r: Sequence[int]) -> float:
    """Of one clip with this schedule."""
    return sum(layer.macs for layer in system.merging.cost_of(r)) / 1e9


def with_schedule(config: Config, r: Schedule) -> Config:
    """The configuration with another schedule."""
    return config.override({"model.merger.r": r})


def shown(r: Schedule) -> Schedule:
    """The schedule as configurations have it, without the zeros at its end."""
    used = max((layer + 1 for layer, merged in enumerate(r) if merged), default=1)
    return r[:used]


def facts(plain: System, params: Params, source: data.Source) -> str:
    """A fingerprint of what the metric depends on beside the schedule."""
    rules = tasks.evaluation_rules(plain.config)
    return runtime.fingerprint({**rules, "evaluation": tasks.fingerprint(plain, params, source)})


@dataclasses.dataclass
class Evaluation:
    """Tells a schedule's metric, from the log or by evaluating it."""

    system: System
    params: Params
    source: data.Source
    folder: pathlib.Path
    log: TrialLog
    asked: int = 0
    seconds: list[float] = dataclasses.field(default_factory=list)

    def __call__(self, r: Schedule) -> float:
        """The headline of results.json."""
        self.asked += 1
        if r not in self.log:
            print(f"schedule {self._progress()}: r={shown(r)}", file=sys.stderr)
            begun = time.perf_counter()
            found = self._evaluate(r)
            headline, left_out = found["headline"], found["protocol"]["left_out"]
            self.seconds.append(time.perf_counter() - begun)
            what = {"metric": headline["name"], "value": headline["value"], "left_out": left_out}
            self.log.add(r, gmac=gmac(self.system, r), **what)
            print(f"{headline['name']} {headline['value']:g}", file=sys.stderr)
        return self.log[r]["value"]

    def _progress(self) -> str:
        place = f"{self.asked} of at most {_TRIALS.value}"
        if not self.seconds:
            return place
        left = statistics.mean(self.seconds) * (_TRIALS.value - self.asked + 1)
        return f"{place}, {tqdm.format_interval(left)} left"

    def _evaluate(self, r: Schedule) -> dict[str, Any]:
        place = self.folder / "-".join(map(str, shown(r)))
        system = registry.build(with_schedule(self.system.config, r))
        found = tasks.evaluate(f"r={shown(r)}", system, self.params, self.source, place)
        shutil.rmtree(place / "cache")  # features, large and of no more use
        return found


@dataclasses.dataclass(frozen=True)
class Kept(data.Source):
    """A source that decodes its videos once, when they are first asked for.

    Attributes:
      transform: of the source's own system.
      known: clips by row, or why there is none.
    """

    transform: Transform
    known: dict[int, np.ndarray | str] = dataclasses.field(default_factory=dict)

    def clips(
        self, transform: Transform, rows: Sequence[int], refuse: Refuse
    ) -> Iterator[tuple[int, np.ndarray]]:
        """See `data.Source`; `transform` must be the source's own."""
        assert transform == self.transform
        new = [row for row in rows if row not in self.known]
        if new:
            self._decode(new, refuse)
        for row in rows:
            clip = self.known[row]
            if not isinstance(clip, str):
                yield row, clip
            elif row not in new:
                refuse(row, clip)

    def _decode(self, rows: Sequence[int], refuse: Refuse) -> None:
        """Makes clips or faults of rows known; a fault is reported at once, and may end it."""

        def note(row: int, fault: str) -> None:
            self.known[row] = fault
            refuse(row, fault)

        clips = super().clips(self.transform, rows, note)
        self.known.update(tracked(clips, "decoding videos", len(rows), "video"))


def kept(source: data.Source, system: System) -> data.Source:
    """The source, as `Kept` if its frames fit into `_KEPT_GIB`."""
    looked_at, pixels = system.config.data, system.pixels
    views = looked_at.crops * looked_at.clips * looked_at.neighbours
    size = len(source.paths) * pixels.frames * views * 3 * pixels.image_size**2
    if size > _KEPT_GIB * 2**30:
        return source
    return Kept(**vars(source), transform=pixels.transform)


def report(
    found: Sequence[Trial],
    plain: System,
    space: Space,
    own: Schedule,
    metric: str,
    folder: pathlib.Path,
) -> None:
    """Prints what was tried, best first, and a configuration's line; writes budget_BUDGET.json."""
    full = unmerged(plain)
    starts = {own: "configuration"} | dict.fromkeys(uniform(space), "uniform")
    rows = [
        {
            "r": shown(trial.r),
            "from": starts.get(trial.r, "search"),
            "tokens_out": plain.merging.cost_of(trial.r)[-1].tokens_out,
            "gmac": -trial.saving,
            "share": -trial.saving / full,
            "value": trial.value,
        }
        for trial in found
    ]
    content = {
        "name": common.config_name(),
        "split": _SPLIT.value,
        "metric": metric,
        "budget": _BUDGET.value,
        "unmerged_gmac": full,
        "best": shown(found[0].r),
        "schedules": rows,
        "versions": runtime.versions(),
    }
    path = folder / f"budget_{_BUDGET.value:g}.json"
    runtime.write_text(path, json.dumps(content, indent=1) + "\n")
    rich.print(table(rows, metric))
    if len(found) == _TRIALS.value:
        print(f"Stopped after {len(found)} schedules; a larger --trials goes on from here.")
    print(f"Results are in {folder}. For the configuration:")
    print(f"    merger=Merger(r={shown(found[0].r)})")


def table(rows: Sequence[dict[str, Any]], metric: str) -> rich.table.Table:
    """The schedules of `report`, as they come."""
    result = rich.table.Table(
        title=f"{common.config_name()}, {_SPLIT.value}: at most {_BUDGET.value:.0%} of the GMAC"
    )
    result.add_column("r")
    result.add_column("from")
    for column in ("tokens out", "GMAC", "share", metric):
        result.add_column(column, justify="right")
    for row in rows:
        cost = f"{row['gmac']:.3f}" if row["gmac"] < 10 else f"{row['gmac']:.1f}"
        r = ", ".join(map(str, row["r"]))
        cells = str(row["tokens_out"]), cost, f"{row['share']:.1%}", f"{row['value']:.1f}"
        result.add_row(r, row["from"], *cells)
    return result


if __name__ == "__main__":
    common.run(main)
