"""The merging schedule of the best metric whose cost is within a budget.

How good a schedule is shows only in an evaluation, which is dear and says little of others. So the
search starts from the uniform schedules (the same r in each of the first m layers, just within
the budget) and climbs from the best: it changes r in one layer and pays for it in another, so that
every schedule that it tries spends the whole budget. Steps get smaller where none helps.
"""

import dataclasses
from collections.abc import Callable, Iterator

Schedule = tuple[int, ...]

_FIRST_STEP, _LAST_STEP = 12, 48  # tokens are divided by these


@dataclasses.dataclass(frozen=True)
class Space:
    """The schedules to choose from.

    Attributes:
      depth: layers.
      tokens: tokens that enter the first layer; half of a layer's can merge at most.
      cost: of a schedule; falls where more tokens merge.
      budget: what a schedule may cost.
    """

    depth: int
    tokens: int
    cost: Callable[[Schedule], float]
    budget: float

    def holds(self, r: Schedule) -> bool:
        """Whether a schedule can work and is within the budget."""
        return _can(r, self.tokens) and self.cost(r) <= self.budget


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
    """The least r in each of the first m layers that is within the budget, for every m that can."""
    found = []
    for layers in range(1, space.depth + 1):
        rest = (0,) * (space.depth - layers)
        r = _least(lambda r, m=layers, rest=rest: (r,) * m + rest, space)
        if r is not None:
            found.append(r)
    return found


def neighbours(space: Space, r: Schedule, step: int) -> Iterator[Schedule]:
    """Schedules with `step` more or less in one layer and as little as pays for it in another.

    Layers up to the first one after those that merge are considered.
    """
    used = max((layer for layer, merged in enumerate(r) if merged), default=0)
    layers = range(min(used + 2, space.depth))
    for changed in layers:
        for change in (-step, step):
            for paying in layers:
                wanted = [*r]
                wanted[changed] = max(r[changed] + change, 0)
                if paying == changed or wanted[changed] == r[changed]:
                    continue

                def paid(merged: int, wanted: list[int] = wanted, paying: int = paying) -> Schedule:
                    return (*wanted[:paying], merged, *wanted[paying + 1 :])

                found = _least(paid, space)
                if found is not None and found != r:
                    yield found


def search(space: Space, evaluate: Callable[[Schedule], float], most: int) -> list[Trial]:
    """Evaluates up to `most` schedules.

    Args:
      space: the schedules to choose from.
      evaluate: tells a schedule's metric, higher is better; called once for each.
      most: how many schedules to evaluate; at least the uniform ones are.

    Returns:
      What was tried, best first; empty if no uniform schedule is within the budget.
    """
    tried: dict[Schedule, Trial] = {}

    def attempt(r: Schedule) -> Trial:
        if r not in tried:
            tried[r] = Trial(evaluate(r), -space.cost(r), r)
        return tried[r]

    best = max((attempt(r) for r in uniform(space)), default=None)
    step = max(space.tokens // _FIRST_STEP, 1)
    while best is not None and step >= max(space.tokens // _LAST_STEP, 1):
        for r in neighbours(space, best.r, step):
            if r not in tried and len(tried) >= most:
                return sorted(tried.values(), reverse=True)
            if attempt(r) > best:
                best = tried[r]
                break
        else:
            step //= 2
    return sorted(tried.values(), reverse=True)


def _least(schedule: Callable[[int], Schedule], space: Space) -> Schedule | None:
    """The schedule of the least r that is within the budget; None if no r is."""
    if space.holds(schedule(0)):
        return schedule(0)
    low, high = 1, space.tokens // 2
    while high and not _can(schedule(high), space.tokens):
        high -= 1
    if not high or not space.holds(schedule(high)):
        return None
    while low < high:  # from 1 on the cost falls; merging one token costs a matching more than none
        middle = (low + high) // 2
        if space.holds(schedule(middle)):
            high = middle
        else:
            low = middle + 1
    return schedule(low)


def _can(r: Schedule, tokens: int) -> bool:
    left = tokens
    for merged in r:
        if 2 * merged > left:
            return False
        left -= merged
    return True
