"""Searches the merging schedule with the best metric within a cost budget."""

import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Sequence

from tqdm import tqdm

from tokmerge_jax import data, disk, hosts, registry, runtime
from tokmerge_jax.config import Config
from tokmerge_jax.evaluation.schedule_search import Schedule, Space, Trial, search, uniform
from tokmerge_jax.evaluation.trial_log import TrialLog
from tokmerge_jax.merging import schedule
from tokmerge_jax.objects import Place
from tokmerge_jax.system import System
from tokmerge_jax.tasks import evaluation
from tokmerge_jax.tasks.cached_source import cached_source
from tokmerge_jax.types import Json, Params, UserError


def search_schedule(
    config: Config,
    folder: Place,
    *,
    name: str,
    budget: float = 0.6,
    split: str = "val",
    trials: int = 40,
) -> dict[str, Json]:
    """Evaluates uniform schedules, the configuration's schedule and neighbours of the best one.

    The same call resumes after a stop or kill; other budgets and more trials add to it.

    Args:
      config: the configuration of a system with a merger, and its checkpoint.
      folder: gets each evaluation (`trials.jsonl`, `schedules/`) and `budget_BUDGET.json`.
      name: the name of the search.
      budget: largest cost, as a share of the GMAC without merging.
      split: the split to evaluate on.
      trials: number of schedules to evaluate.

    Returns:
      the content of `budget_BUDGET.json`: "metric", "best" (an r), "schedules" (best first), ...

    Raises:
      UserError: if `trials` is below 1, no merging is within the budget, or something is missing.
    """
    if trials < 1:
        raise UserError(f"trials={trials} must be at least 1: the number of schedules to evaluate")
    config = config.override({"data.split": split})
    own = registry.build(config).merging.schedule.r
    plain = registry.build(_with_schedule(config, (0,) * len(own)))
    full = registry.build(config.override({"model.merger.name": "none"})).merging.gmac
    space = _budgeted(plain, budget, full)
    _report_dear(own, space)
    source, params = evaluation.inputs(plain)
    inputs = evaluation.fingerprint(plain, params, source)
    facts = runtime.fingerprint({**evaluation.evaluation_rules(config), "evaluation": inputs})
    with hosts.held(folder):
        log = TrialLog(folder / "trials.jsonl", facts)
        places = folder / "schedules" / facts[:8]  # for these weights and videos only
        evaluate = Evaluator(plain, params, cached_source(source, plain), places, log, trials)
        ranking = search(space, evaluate, trials, [own])
        asked = {"name": name, "split": split, "metric": log[ranking[0].r]["metric"]}
        content = {**asked, "budget": budget, **_results(ranking, plain, full, own, space)}
        if not hosts.number():
            place = folder / f"budget_{budget:g}.json"
            runtime.write_text(place, json.dumps(content, indent=1) + "\n")
    return content


def _budgeted(plain: System, share: float, full: float) -> Space:
    """The schedules that cost at most `share` of the GMAC without merging, `full`.

    Raises:
      UserError: if there is no such schedule, or no merger.
    """
    if plain.config.model.merger.name == "none":
        raise UserError(
            "config.model.merger.name=none merges nothing; name the merger whose schedule to search"
        )
    if not 0 < share <= 1:
        raise UserError(f"budget={share:g} must be above 0 and at most 1")
    layers, tokens = len(plain.merging.schedule.r), plain.merging.schedule.tokens
    most = plain.merging.schedule.most
    space = Space(layers, tokens, lambda r: _gmac(plain, r), share * full, most)
    if not uniform(space):
        least = _gmac(plain, schedule.resolve(tokens, layers, tokens, most)) / full
        raise UserError(
            f"budget={share:g} is out of reach: merging as many tokens as possible in every layer"
            f" still costs {least:.3f} of the unmerged GMAC; raise the budget"
        )
    return space


def _report_dear(own: Schedule, space: Space) -> None:
    """Says that the configuration's schedule is over the budget, so it will not be evaluated."""
    if space.cost(own) > space.budget:
        print(f"r={_shown(own)} of the configuration is over the budget: left out", file=sys.stderr)


def _gmac(system: System, r: Sequence[int]) -> float:
    """GMAC per clip with schedule `r`."""
    return sum(layer.macs for layer in system.merging.cost_of(r)) / 1e9


def _with_schedule(config: Config, r: Schedule) -> Config:
    """The configuration with another schedule."""
    return config.override({"model.merger.r": r})


def _shown(r: Schedule) -> Schedule:
    """The schedule as in configurations, without trailing zeros."""
    used = max((layer + 1 for layer, merged in enumerate(r) if merged), default=1)
    return r[:used]


@dataclasses.dataclass
class Evaluator:
    """Returns the metric of a schedule, from the log or from a new evaluation.

    Attributes:
      system: the system, with any schedule.
      params: its parameters.
      source: the videos.
      folder: holds a folder for each schedule's evaluation.
      log: the schedules evaluated so far.
      trials: largest number of schedules, for the progress.
      asked: number of schedules asked for so far.
      seconds: the time of each new evaluation.
    """

    system: System
    params: Params
    source: data.Source
    folder: Place
    log: TrialLog
    trials: int
    asked: int = 0
    seconds: list[float] = dataclasses.field(default_factory=list)

    def __call__(self, r: Schedule) -> float:
        """Returns the headline value of results.json for schedule `r`."""
        self.asked += 1
        if r not in self.log:
            print(f"schedule {self._progress()}: r={_shown(r)}", file=sys.stderr)
            begun = time.perf_counter()
            results = self._evaluate(r)
            headline, left_out = results["headline"], results["protocol"]["left_out"]
            self.seconds.append(time.perf_counter() - begun)
            what = {"metric": headline["name"], "value": headline["value"], "left_out": left_out}
            self.log.add(r, gmac=_gmac(self.system, r), **what)
            print(f"{headline['name']} {headline['value']:g}", file=sys.stderr)
        return self.log[r]["value"]

    def _progress(self) -> str:
        place = f"{self.asked} of at most {self.trials}"
        if not self.seconds:
            return place
        left = statistics.mean(self.seconds) * (self.trials - self.asked + 1)
        return f"{place}, {tqdm.format_interval(left)} left"

    def _evaluate(self, r: Schedule) -> dict[str, Json]:
        place = self.folder / "-".join(map(str, _shown(r)))
        system = registry.build(_with_schedule(self.system.config, r))
        results = evaluation.evaluate(f"r={_shown(r)}", system, self.params, self.source, place)
        if not hosts.number():
            disk.remove(place / "cache")  # features, which are large and no longer needed
        return results


def _results(
    ranking: Sequence[Trial], plain: System, full: float, own: Schedule, space: Space
) -> dict[str, Json]:
    """The part of the table that the search fills; `own` is the configuration's schedule."""
    starts = {own: "configuration"} | dict.fromkeys(uniform(space), "uniform")
    rows = [
        {
            "r": _shown(trial.r),
            "from": starts.get(trial.r, "search"),
            "tokens_out": plain.merging.cost_of(trial.r)[-1].tokens_out,
            "gmac": -trial.saving,
            "share": -trial.saving / full,
            "value": trial.value,
        }
        for trial in ranking
    ]
    return {
        "unmerged_gmac": full,
        "best": _shown(ranking[0].r),
        "schedules": rows,
        "versions": runtime.versions(),
    }
