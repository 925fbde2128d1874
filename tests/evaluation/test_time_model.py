"""The model of the time on seconds that are made from known prices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokmerge_jax.evaluation.time_model import TimeModel, fit, leave_one_out
from tokmerge_jax.types import LayerCost, UserError

COUNTS = [(90, 90, 90), (90, 60, 50), (80, 80, 20), (70, 35, 35), (60, 60, 60), (90, 45, 30)]
COSTS = [
    (LayerCost("a", first, second, 7000 * i), LayerCost("b", second, third, 3000 + 40 * third))
    for i, (first, second, third) in enumerate(COUNTS, start=1)
]


def prices(model):
    return np.array([model.per_mac, model.per_pair, model.per_merge])


def test_seconds_of_two_layers_by_hand():
    costs = (LayerCost("a", 10, 10, 100), LayerCost("b", 10, 6, 50))
    assert TimeModel(2.0, 0.0, 0.0).seconds(costs) == 300
    assert TimeModel(0.0, 7.0, 0.0).seconds(costs) == 7 * (100 + 100)
    assert TimeModel(0.0, 0.0, 5.0).seconds(costs) == 50  # the second alone merges
    assert TimeModel(2.0, 7.0, 5.0).seconds(costs) == 300 + 1400 + 50


@given(st.tuples(st.floats(1, 9), *[st.sampled_from((0.0, 1.0, 2.5, 9.0))] * 2))
def test_known_prices_are_found(known):
    model = TimeModel(*np.multiply(known, (1e-12, 1e-11, 1e-9)).tolist())
    seconds = [model.seconds(costs) for costs in COSTS]
    np.testing.assert_allclose(prices(fit(COSTS, seconds)), prices(model), rtol=1e-6, atol=1e-17)
    np.testing.assert_allclose(leave_one_out(COSTS, seconds), seconds, rtol=1e-6)


@given(st.lists(st.floats(0.5, 2), min_size=len(COSTS), max_size=len(COSTS)))
def test_no_price_is_below_0_and_none_can_be_better(noise):
    """The conditions of Karush, Kuhn and Tucker, which tell the least of a convex function."""
    macs = [sum(layer.macs for layer in costs) for costs in COSTS]
    seconds = np.multiply(noise, macs).tolist()
    computed = prices(fit(COSTS, seconds))
    one_by_one = [TimeModel(*row) for row in np.eye(3).tolist()]
    amounts = np.array([[unit.seconds(costs) for unit in one_by_one] for costs in COSTS])
    amounts /= np.array(seconds)[:, None]
    slope = (amounts.T @ (amounts @ computed - 1)) / np.linalg.norm(amounts, axis=0)
    assert (computed >= 0).all()
    assert (slope > -1e-6).all()
    np.testing.assert_allclose(slope[computed > 0], 0, atol=1e-6)


def test_each_schedule_is_told_by_the_others():
    """1, 1, 1, 1, 1 and 2 seconds a unit: of five with the last the best price is 4.5 / 4.25."""
    costs = [(LayerCost("products", 0, 0, macs),) for macs in (1, 2, 3, 4, 5, 6)]
    told = leave_one_out(costs, [1.0, 2.0, 3.0, 4.0, 5.0, 12.0])
    by_others = [18 / 17, 36 / 17, 54 / 17, 72 / 17, 90 / 17, 6]
    np.testing.assert_allclose(told, by_others, rtol=1e-12)


@pytest.mark.parametrize("function", [fit, leave_one_out])
def test_too_few_measurements(function):
    with pytest.raises(UserError, match=r"4 schedules are too few for a model.*time 5 or more"):
        function(COSTS[:4], [1.0, 2.0, 3.0, 4.0])
    assert function(COSTS[:5], [1.0, 2.0, 3.0, 4.0, 5.0])
