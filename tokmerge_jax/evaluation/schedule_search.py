"""The merging schedule of the best metric whose cost is within a budget.

How good a schedule is shows only in an evaluation, which is dear and says little of others. So the
search starts from the uniform schedules (the same r in each of the first m layers, just within the
budget), which therefore are never better than what it finds, and climbs from the best: one layer
merges a step fewer tokens, and another one as many as bring the cost back to the budget; or one
merges a step more, for less than the budget may be better still, above all where a network was
trained with merging. Steps get smaller where none helps. Nothing is random: the same metrics lead
to the same end.
"""

import bisect
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence

from tokmerge_jax.merging import schedule
from tokmerge_jax.runtime import finite

Schedule = tuple[int, ...]

_STEPS = (12, 24, 48)  # tokens are divided by these


@dataclasses.dataclass(frozen=True)
class Space:
    """The schedules to choose from.

    Attributes:
      depth: layers.
      tokens: tokens that enter the first layer.
      cost: of a schedule; falls as more tokens merge in a layer that merges some.
      budget: what a schedule may cost.
      most: the largest r of a layer, by the number of tokens that enter it.
    """

    depth: int
    tokens: int
    cost: Callable[[Schedule], float]
    budget: float
    most: Callable[[int], int]

    def holds(self, r: Schedule) -> bool:
        """Whether a schedule can work and is within the budget."""
        return self.can_merge(r) and self.cost(r) <= self.budget

    def can_merge(self, r: Schedule) -> bool:
        """Whether no layer merges more tokens than it can."""
        counts = schedule.token_counts(r, self.tokens)
        pairs = zip(r, counts[:-1], strict=True)
        return all(merged <= self.most(entering) for merged, entering in pairs)


@dataclasses.dataclass(frozen=True, order=True)
class Trial:
    """An evaluated schedule; of two, the better is the one with the higher value, then the cheaper.

    Attributes:
      value: the metric.
      saving: minus the cost.
      r: the schedule.
    """

    value: float
    saving: float
    r: Schedule


def uniform(space: Space) -> list[Schedule]:
    """The least r in each of the first m layers that is within the budget, for every m that can.

    Where r is more than a layer can merge, it merges as many as it can.
    """
    found = []
    for layers in range(1, space.depth + 1):

        def first(r: int, layers: int = layers) -> Schedule:
            return schedule.resolve(r, layers, space.tokens, space.most) + (0,) * (
                space.depth - layers
            )

        found.append(_least(first, space))
    return list(dict.fromkeys(r for r in found if r is not None))


def neighbours(space: Space, r: Schedule, step: int) -> Iterator[Schedule]:
    """Schedules within the budget that differ from `r` by about a step.

    First those with up to `step` fewer in one layer and the least that pays for it in another, then
    those with `step` more in one layer. Layers up to the first one after those that merge change.
    """
    used = max((layer + 1 for layer, merged in enumerate(r) if merged), default=0)
    layers = range(min(used + 1, space.depth))
    for giving in layers:
        given = _replaced(r, giving, max(r[giving] - step, 0))
        for taking in layers:
            if giving != taking and r[giving]:
                found = _least(functools.partial(_replaced, given, taking), space)
                if found is not None and found != r:
                    yield found
    for layer in layers:
        more = _replaced(r, layer, r[layer] + step)
        if space.holds(more):
            yield more


def search(
    space: Space,
    evaluate: Callable[[Schedule], float],
    trials: int,
    also: Sequence[Schedule] = (),
) -> list[Trial]:
    """Evaluates up to `trials` schedules, uniform ones and their better and better neighbours.

    Args:
      space: the schedules to choose from.
      evaluate: tells a schedule's metric, higher is better; called once for each.
      trials: number of schedules to evaluate.
      also: further schedules to start from; those that `space` does not hold are left out.

    Returns:
      What was tried, best first; empty if the budget is less than any schedule costs.

    Raises:
      UserError: if a metric is not finite.
    """
    tried: dict[Schedule, Trial] = {}

    def visit(schedules: Iterable[Schedule]) -> None:
        for r in schedules:
            if len(tried) == trials:
                return
            if r not in tried:
                value = finite(evaluate(r), f"metric of schedule {r}")
                tried[r] = Trial(float(value), -space.cost(r), r)

    visit(uniform(space))
    visit(r for r in also if space.holds(r))
    for divisor in _STEPS if tried else ():
        centre = None
        while (best := max(tried.values())) != centre:
            centre = best
            visit(neighbours(space, best.r, max(round(space.tokens / divisor), 1)))
    return sorted(tried.values(), reverse=True)


def _replaced(r: Schedule, layer: int, merged: int) -> Schedule:
    return (*r[:layer], merged, *r[layer + 1 :])


def _least(make: Callable[[int], Schedule], space: Space) -> Schedule | None:
    """`make` of the least number that gives a schedule within the budget; None if none does."""
    if space.holds(make(0)):
        return make(0)
    # From 1 on the cost falls; merging one token costs a matching more than merging none.
    able = [r for r in range(1, space.most(space.tokens) + 1) if space.can_merge(make(r))]
    place = bisect.bisect_left(able, True, key=lambda r: space.cost(make(r)) <= space.budget)
    return make(able[place]) if place < len(able) else None
