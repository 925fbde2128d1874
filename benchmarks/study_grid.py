"""The points of a study: each merger that a network takes, at given shares of its GMAC."""

import bisect
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

from benchmarks import schedules
from tokmerge_jax import registry
from tokmerge_jax.config import Config
from tokmerge_jax.merging import merger
from tokmerge_jax.merging.merger import Place
from tokmerge_jax.system import System
from tokmerge_jax.tasks.synthetic import changed, unmerged
from tokmerge_jax.types import UserError

_PARTS = 80  # steps in which the configuration's schedule is scaled up to itself
_LONGEST = 3  # times the configuration's schedule is the largest


Schedule = Literal["even", "configured"]


class Point(NamedTuple):
    """A merger with a schedule.

    Attributes:
      merger: its name.
      schedule: whether equally many tokens merge in each layer, or in the configuration's
        proportions.
      wanted: the share of the GMAC without merging that the system must not exceed.
      system: the system.
    """

    merger: str
    schedule: Schedule
    wanted: float
    system: System

    @property
    def name(self) -> str:
        """What tells a point from the others of its configuration."""
        return f"{self.merger}, {self.schedule}, {self.wanted:g}"


def grid(config: Config, shares: Sequence[float], names: Sequence[str] = ()) -> list[Point]:
    """The points that the configuration's network can have.

    Args:
      config: the configuration.
      shares: the wanted shares of the GMAC.
      names: names of mergers; () = all that are registered.

    Raises:
      UserError: if one of `names` does not fit the network, or no merger does.
    """
    for name in names:
        registry.build(changed(config, {"merger.name": name, "merger.r": 1}))
    places: tuple[Place, ...] = get_args(Place)
    own = config.model.merger.name
    candidates = names or dict.fromkeys([*merger.names(places), own])
    full = unmerged(config).merging.gmac
    points = [
        Point(name, schedule, share, system)
        for name in candidates
        if name != "none"
        for schedule, find in _SCHEDULES.items()
        for share in shares
        if (system := find(config, name, share * full))
    ]
    if not points:
        raise UserError(
            "config.model takes no merger; choose a configuration of a network that does"
        )
    return points


def _even(config: Config, name: str, most: float) -> System | None:
    """The system that merges equally many tokens in each layer, as far as a layer can, and no
    whole frames.
    """
    merging = schedules.merging(registry.build(config))
    fixed = {"merger.name": name, **{key: 0 for key in merging if key == "merger.frames"}}
    tokens = unmerged(config).merging.cost[0].tokens_in
    return _first(range(1, tokens), most, lambda r: changed(config, {**fixed, "merger.r": r}))


def _configured(config: Config, name: str, most: float) -> System | None:
    """The system that merges in the configuration's proportions; None if it merges nothing."""
    values = schedules.merging(registry.build(config))
    if not any(values["merger.r"]):
        return None

    def scaled(part: int) -> Config:
        return changed(config, {**schedules.scaled(values, part / _PARTS), "merger.name": name})

    return _first(range(1, _LONGEST * _PARTS), most, scaled)


def _first(parts: range, most: float, make: Callable[[int], Config]) -> System | None:
    """The system of the first part that takes at most `most` GMAC, which fall from part to part.

    None if the network does not take the merger, or so much of it.
    """

    def built(part: int) -> System | None:
        try:
            return registry.build(make(part))
        except UserError:
            return None

    def negative(part: int) -> float:
        system = built(part)
        return -system.merging.gmac if system else 0

    place = bisect.bisect_left(parts, -most, key=negative)
    return built(parts[place]) if place < len(parts) else None


_SCHEDULES: Mapping[Schedule, Callable[[Config, str, float], System | None]] = {
    "even": _even,
    "configured": _configured,
}
