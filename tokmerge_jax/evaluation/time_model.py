"""Predicts the seconds that encoding a clip takes on a machine, from its layers' cost.

Multiply-accumulates alone do not predict the time: the exponentials of attention cost time per pair
of tokens, and a merging layer matches, gathers and scatters. Each of the three has a price, fitted
to timed schedules; work that grows with the number of tokens, such as norms, is part of the price
of the products. Since the three grow together, single prices mean little: only their sum does, and
only for schedules like those that were timed.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.optimize import nnls

from tokmerge_jax.types import LayerCost, UserError

Costs = Sequence[LayerCost]


@dataclasses.dataclass(frozen=True)
class TimeModel:
    """The time prices of a machine, in seconds.

    Attributes:
      per_mac: seconds per multiply-accumulate of the products.
      per_pair: seconds per pair of tokens that enter a layer, beyond the products. (With attention
        within frames, fewer pairs are real.)
      per_merge: seconds of merging per token that enters a merging layer.
    """

    per_mac: float
    per_pair: float
    per_merge: float

    def seconds(self, costs: Costs) -> float:
        """The predicted seconds for a clip whose layers have these costs."""
        return float(_amounts(costs) @ dataclasses.astuple(self))


TERMS = len(dataclasses.fields(TimeModel))
"""Number of prices in the model."""

LEAST = TERMS + 2
"""Smallest number of schedules for a fit; fewer would leave nothing to check it with."""


def fit(costs: Sequence[Costs], seconds: Sequence[float]) -> TimeModel:
    """Fits non-negative prices by least squares of the relative errors.

    Args:
      costs: the layers' costs of each timed schedule.
      seconds: the time of each.

    Raises:
      UserError: if there are too few schedules to judge the fit.
    """
    _check(len(costs))
    return _fit(costs, seconds)


def leave_one_out(costs: Sequence[Costs], seconds: Sequence[float]) -> list[float]:
    """Predicts the time of each schedule from all others; arguments and errors as in `fit`."""
    _check(len(costs))
    predicted = []
    for i, left_out in enumerate(costs):
        others = [j for j in range(len(costs)) if j != i]
        model = _fit([costs[j] for j in others], [seconds[j] for j in others])
        predicted.append(model.seconds(left_out))
    return predicted


def _check(schedules: int) -> None:
    if schedules < LEAST:
        raise UserError(
            f"{schedules} schedules are too few for a model of the time, which has {TERMS} terms;"
            f" time {LEAST} or more"
        )


def _amounts(costs: Costs) -> Float[np.ndarray, "terms"]:
    """The amounts [3] in all layers: multiply-accumulates, pairs of tokens, merging tokens."""
    tokens = [(layer.tokens_in, layer.tokens_out) for layer in costs]
    macs = sum(layer.macs for layer in costs)
    pairs = sum(entering**2 for entering, _ in tokens)
    merging = sum(entering for entering, leaving in tokens if leaving < entering)
    return np.array([macs, pairs, merging], float)


def _fit(costs: Sequence[Costs], seconds: Sequence[float]) -> TimeModel:
    amounts = np.stack([_amounts(each) for each in costs]) / np.array(seconds)[:, None]
    scale = np.maximum(amounts.max(axis=0), np.finfo(float).tiny)
    prices, _ = nnls(amounts / scale, np.ones(len(costs)))
    return TimeModel(*(prices / scale).tolist())
