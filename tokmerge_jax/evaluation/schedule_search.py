"""Searches the merging schedule with the best metric whose cost is within a budget.

The quality of a schedule is known only from an evaluation, which is expensive. So the search starts
from the uniform schedules (the same r in each of the first m layers, just within the budget) and
climbs from the best one; its result is never worse than those. A step lets one layer merge fewer
tokens and another one more, until the cost is back within the budget; or one layer merges more,
since less than the budget can be better, especially for a network trained with merging. If no step
helps, steps get smaller. Nothing is random: the same metrics lead to the same schedule.
"""

import bisect
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence

from tokmerge_jax.merging import schedule
from tokmerge_jax.runtime import finite

Schedule = tuple[int, ...]

_STEPS = (12, 24, 48)  # a step is the number of tokens divided by these


@dataclasses.dataclass(frozen=True)
class Space:
    """The schedules to choose from.

    Attributes:
      depth: number of layers.
      tokens: number of tokens that enter the first layer.
      cost: schedule -> cost; it falls as more tokens merge in a layer that merges any.
      budget: largest allowed cost.
      most: number of tokens that enter a layer -> largest r of the layer.
    """

    depth: int
    tokens: int
    cost: Callable[[Schedule], float]
    budget: float
    most: Callable[[int], int]

    def holds(self, r: Schedule) -> bool:
        """Whether a schedule is possible and within the budget."""
        return self.can_merge(r) and self.cost(r) <= self.budget

    def can_merge(self, r: Schedule) -> bool:
        """Whether no layer merges more tokens than it can."""
        counts = schedule.token_counts(r, self.tokens)
        pairs = zip(r, counts[:-1], strict=True)
        return all(merged <= self.most(entering) for merged, entering in pairs)


@dataclasses.dataclass(frozen=True, order=True)
class Trial:
    """An evaluated schedule, ordered by value, then by saving.

    Attributes:
      value: the metric; higher is better.
      saving: the negative cost.
      r: the schedule.
    """

    value: float
    saving: float
    r: Schedule


def uniform(space: Space) -> list[Schedule]:
    """The uniform schedules: for each m, the smallest r in the first m layers within the budget.

    A layer that cannot merge r tokens merges as many as it can.
    """
    schedules = []
    for layers in range(1, space.depth + 1):

        def first(r: int, layers: int = layers) -> Schedule:
            return schedule.resolve(r, layers, space.tokens, space.most) + (0,) * (
                space.depth - layers
            )

        schedules.append(_least(first, space))
    return list(dict.fromkeys(r for r in schedules if r is not None))


def neighbours(space: Space, r: Schedule, step: int) -> Iterator[Schedule]:
    """Yields schedules within the budget that differ from `r` by about a step.

    First, one layer merges up to `step` fewer tokens and another one the fewest more that bring the
    cost back within the budget; then, one layer merges `step` more. Only layers that merge, and the
    first one after them, change.
    """
    used = max((layer + 1 for layer, merged in enumerate(r) if merged), default=0)
    layers = range(min(used + 1, space.depth))
    for giving in layers:
        given = _replaced(r, giving, max(r[giving] - step, 0))
        for taking in layers:
            if giving != taking and r[giving]:
                changed = _least(functools.partial(_replaced, given, taking), space)
                if changed is not None and changed != r:
                    yield changed
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
    """Evaluates up to `trials` schedules: uniform ones, then neighbours of the best one so far.

    Args:
      space: the schedules to choose from.
      evaluate: schedule -> metric, higher is better; called once per schedule.
      trials: largest number of schedules to evaluate.
      also: further schedules to start from; those outside `space` are left out.

    Returns:
      All trials, best first; empty if every schedule costs more than the budget.

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
    """The schedule `make(r)` with the smallest r that is within the budget; None without one."""
    if space.holds(make(0)):
        return make(0)
    # The cost falls from r = 1 on; r = 1 may cost more than r = 0 because of the matching.
    able = [r for r in range(1, space.most(space.tokens) + 1) if space.can_merge(make(r))]
    place = bisect.bisect_left(able, True, key=lambda r: space.cost(make(r)) <= space.budget)
    return make(able[place]) if place < len(able) else None
