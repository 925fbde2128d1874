"""The learning rate against the original's, weight decay's mask, the temperature's bounds."""

from typing import Any

import golden
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import recipe

from tokmerge_jax.training import optimizer
from tokmerge_jax.types import UserError


def test_learning_rate_is_the_originals():
    case = golden.load("umtqa-schedule")
    config = case.config
    per_epoch = config["steps_per_epoch"]
    rate = optimizer.cosine(
        config["lr"],
        steps=config["epochs"] * per_epoch,
        warmup_steps=config["warmup_epochs"] * per_epoch,
        min_share=config["min_lr_multi"],
    )
    ours = [float(rate(step)) for step in case.spec["inputs"]["steps"]]
    np.testing.assert_allclose(ours, case.spec["expected"], rtol=2e-6)


def test_no_warmup_starts_at_the_top_and_ends_at_the_floor():
    rate = optimizer.cosine(2.0, steps=4, min_share=0.1)
    np.testing.assert_allclose([rate(s) for s in range(5)], [2, 1.7071068, 1, 0.29289323, 0.2])


SCHEDULES = golden.load("testa-schedules").spec


def rates(name, base, floor, epochs, per_epoch=7000, warmup_steps=0):
    """The rate of a step by epochs and steps in them."""
    rate = optimizer.named(
        name,
        base,
        steps=epochs * per_epoch,
        warmup_steps=warmup_steps,
        min_share=floor / base,
        per_epoch=per_epoch,
    )
    return lambda epoch, step=0: float(rate(epoch * per_epoch + step))


FLOORS = {  # schedule, lowest rate, epochs: rates by epoch, by each original's formula
    ("cosine", 2e-7, 11): {0: 2e-7, 0.005: 2e-7, 0.5: 1e-5, 1: 2e-5, 6: 1e-5, 10.5: 2e-7},
    ("cosine_to_floor", 2e-7, 11): {0: 0, 1: 2e-5, 6.005: 1.0084449e-5, 7: 7.040732e-6},
    ("cosine_by_ten", 2e-7, 11): {0: 0, 1: 2e-5, 6: 1.01e-5, 7: 7.040732e-6},
    ("cosine_by_epoch", 1e-7, 20): {0: 2e-5, 1: 1.987750e-5, 10: 1.005e-5, 19: 2.225010e-7},
    ("decay_by_epoch", 1.9e-5, 9): {1: 1.9e-5, 2: 1.9e-5},
    ("decay_by_epoch", 1.8e-5, 9): {1: 1.9e-5, 2: 1.805e-5, 3: 1.8e-5},
}


@pytest.mark.parametrize(("name", "floor", "epochs"), FLOORS)
def test_a_floor_is_where_the_original_has_it(name, floor, epochs):
    """UMT's and BLIP's cut a rate off; the others' cosines, some after a rise, end there."""
    warmup = 1000 if name in ("cosine", "cosine_to_floor", "cosine_by_ten") else 0
    rate = rates(name, 2e-5, floor, epochs, per_epoch=1000, warmup_steps=warmup)
    for epoch, expected in FLOORS[name, floor, epochs].items():
        step = int(epoch * 1000)
        assert rate(step // 1000, step % 1000) == pytest.approx(expected, rel=2e-6), epoch


@pytest.mark.parametrize("step", [0, 6999])
def test_rates_of_epochs_are_the_originals(step):
    for row in SCHEDULES["cosine"]:
        rate = rates("cosine_by_epoch", row["init_lr"], row["min_lr"], row["max_epoch"])
        assert rate(row["epoch"], step) == pytest.approx(row["lr"], rel=1e-5)
    for row in SCHEDULES["step"]:
        rate = rates("decay_by_epoch", row["init_lr"], row["min_lr"], 99)
        if row["epoch"] or step:
            assert rate(row["epoch"], step) == pytest.approx(row["lr"], rel=1e-5)


def test_the_web_s_rate_rises_as_the_originals():
    for row in SCHEDULES["warmup"]:
        rate = rates("decay_by_epoch", row["max_lr"], 5e-7, 20, per_epoch=10_000)
        assert rate(0, row["step"]) == pytest.approx(row["lr"], rel=1e-6)


def test_the_web_s_rate_rises_in_the_first_epoch_alone():
    rate = rates("decay_by_epoch", 5e-6, 5e-7, 20, per_epoch=50)
    assert rate(0, 49) == pytest.approx(1e-6 + 4e-6 * 49 / 5000)
    assert rate(1) == pytest.approx(0.95 * 5e-6)


TDS = golden.load("tdsclip-optimizer")


def tds_rate():
    config = TDS.config
    per_epoch = config["iterations_per_epoch"]
    return optimizer.named(
        "cosine_by_ten",
        config["lr"],
        steps=config["epochs"] * per_epoch,
        warmup_steps=config["warmup_epochs"] * per_epoch,
        min_share=0.0,
        per_epoch=per_epoch,
    )


def test_rates_of_ten_steps_are_the_originals():
    theirs = TDS.arrays["lr"]
    ours = tds_rate()(jnp.arange(len(theirs)))
    assert len(theirs) == 138
    for group in range(3):
        np.testing.assert_allclose(ours, theirs[:, group], rtol=2e-6, atol=1e-10)


def test_steps_of_actions_training_are_the_originals():
    rate, second = tds_rate(), TDS.config["iterations_per_epoch"]
    transformation = optimizer.adamw(
        lambda step: rate(second + step), TDS.config["weight_decay"], mask=None
    )
    params: Any = TDS.weights()
    moments = transformation.init(params)

    @jax.jit
    def advance(params, moments, gradient):
        updates, moments = transformation.update(gradient, moments, params)
        return optax.apply_updates(params, updates), moments

    for index in range(4):
        gradient = {
            name: recipe.weight(f"grad{index}.{name}", value.shape, TDS.spec["seed"] + 1, 1.0)
            for name, value in params.items()
        }
        params, moments = advance(params, moments, gradient)
        for name, computed in params.items():
            theirs = TDS.arrays[f"step{index + 1}/{name}"]
            np.testing.assert_allclose(computed, theirs, rtol=1e-6, atol=1e-6)


def test_a_share_of_the_rate_scales_the_original_s_steps():
    """AdamW adds rate x (direction - decay x weight), whose directions know no rate.

    So the original's steps tell what its groups do at another `clip_ratio`.
    """
    groups, decay = TDS.config["groups"], TDS.config["weight_decay"]
    rate = float(TDS.arrays["lr"][TDS.config["iterations_per_epoch"], 0])
    transformation = optimizer.adamw(
        lambda step: jnp.float32(rate),
        decay,
        mask=None,
        rate_share=lambda name: {"clip": 0.5, "bn": 1.0, "other": 1.0}[groups[name]],
    )
    theirs: Any = TDS.weights()
    params = theirs
    moments = transformation.init(params)
    for index in range(4):
        gradient = {
            name: recipe.weight(f"grad{index}.{name}", value.shape, TDS.spec["seed"] + 1, 1.0)
            for name, value in params.items()
        }
        updates, moments = jax.jit(transformation.update)(gradient, moments, params)
        following = {name: TDS.arrays[f"step{index + 1}/{name}"] for name in params}
        for name, group in groups.items():
            share = rate * {"clip": 0.5, "bn": 1.0, "other": 1.0}[group]
            direction = (following[name] - theirs[name]) / rate + decay * theirs[name]
            expected = share * (direction - decay * params[name])
            np.testing.assert_allclose(updates[name], expected, rtol=1e-3, atol=3e-7)
        params, theirs = optax.apply_updates(params, updates), following


@pytest.mark.parametrize("name", ["cosine_by_epoch", "decay_by_epoch"])
def test_rates_of_epochs_take_no_warmup(name):
    with pytest.raises(
        UserError, match=r"train\.schedule=cosine, cosine_to_floor, cosine_by_ten; set it to 0"
    ):
        rates(name, 1.0, 0.0, epochs=2, per_epoch=4, warmup_steps=2)


def test_an_unknown_rate_is_reported():
    with pytest.raises(UserError, match="schedule='step' is unknown; use cosine, cosine_to_floor"):
        rates("step", 1.0, 0.0, 1)


def test_vectors_and_biases_are_not_decayed():
    params = {
        "dense": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)},
        "norm": {"scale": jnp.ones(3)},
        "heads": {"bias": jnp.ones((2, 2))},
        "temperature": jnp.ones(()),
    }
    assert optimizer.decayed(params) == {
        "dense": {"kernel": True, "bias": False},
        "norm": {"scale": False},
        "heads": {"bias": False},
        "temperature": True,
    }
    transformation = optimizer.adamw(lambda step: jnp.float32(0.5), weight_decay=0.02)
    zero = jax.tree.map(jnp.zeros_like, params)
    updates: Any = transformation.update(zero, transformation.init(params), params)[0]
    np.testing.assert_allclose(updates["dense"]["kernel"], np.full((2, 3), -0.01), rtol=1e-6)
    assert not updates["norm"]["scale"].any()
    transformation = optimizer.adamw(lambda step: jnp.float32(0.5), 0.02, mask=None)
    updates = transformation.update(zero, transformation.init(params), params)[0]
    np.testing.assert_allclose(updates["norm"]["scale"], np.full(3, -0.01), rtol=1e-6)


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.001), (0.07, 0.07), (2.0, 0.5)])
def test_temperature_is_clamped_and_nothing_else(before, after):
    params = {"temperature": jnp.float32(before), "other": {"kernel": jnp.full((1, 1), 9.0)}}
    bounded = optimizer.bounded(params)
    assert bounded["temperature"] == np.float32(after)
    assert bounded["other"]["kernel"] == 9.0
