"""Seconds that encoding a clip takes on a machine, from what its layers cost and some measurements.

Merging saves multiply-accumulates, and these do not tell all: attention's exponentials take time by
pairs of tokens, and a layer that merges looks for what is alike, gathers and scatters. Each has a
price, fitted to schedules that were timed; what grows with the tokens alone, such as norms, is in
the price of the products, most of which do as well. Prices of one network share out what grows
alike: the sum is what they are good for, for schedules like those.
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
    """What a machine takes for each thing that layers do.

    Attributes:
      per_mac: seconds of a multiply-accumulate in a product.
      per_pair: of two tokens of a clip that enter a layer, beside their products. Where frames
        attend apart it stands for fewer pairs.
      per_merge: of a token that enters a layer that merges, for the merging.
    """

    per_mac: float
    per_pair: float
    per_merge: float

    def seconds(self, costs: Costs) -> float:
        """Of a clip whose layers cost this."""
        return float(_amounts(costs) @ dataclasses.astuple(self))


TERMS = len(dataclasses.fields(TimeModel))
"""Prices in the model."""

LEAST = TERMS + 2
"""Schedules that a fit needs: with as many as prices, or one more, it would tell little else."""


def fit(costs: Sequence[Costs], seconds: Sequence[float]) -> TimeModel:
    """The prices, none below 0, whose squared relative errors are least in sum.

    Args:
      costs: the layers of each schedule that was timed.
      seconds: that each took.

    Raises:
      UserError: if there are too few to tell how well they fit.
    """
    _check(len(costs))
    return _fit(costs, seconds)


def leave_one_out(costs: Sequence[Costs], seconds: Sequence[float]) -> list[float]:
    """What each schedule would take by a fit to all others; arguments and errors as for `fit`."""
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
    """How much of what has a price there is in all layers."""
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
