"""Batches that pass in groups: the whole one's gradient, what each group sees, resuming."""

import dataclasses
import os
import signal
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small_run

from tokmerge_jax import parallel
from tokmerge_jax.training import step
from tokmerge_jax.training.loop import Trials
from tokmerge_jax.types import UserError

ROWS, WIDTH, PARTS = 12, 3, 3
RNG = np.random.default_rng(5)
BATCH = {
    "x": RNG.standard_normal((ROWS, WIDTH), np.float32),
    "y": RNG.integers(0, 9, ROWS, np.int32),
}
PARAMS = {"w": np.array([0.5, -1.0, 2.0], np.float32), "frozen": np.float32(3.0)}


def loss(params, state, batch, key, epoch, *, train=True):
    """Squared errors; it remembers how far rows are spread, which is no mean over rows."""
    del epoch
    error = batch["x"] @ params["w"] + params["frozen"] - batch["y"]
    coin = jax.random.uniform(key) * train
    state = {"spread": 0.9 * state["spread"] + 0.1 * batch["x"].std(axis=0)}
    return (error**2).mean(), {"coin": coin, "square": coin**2}, state


def program(groups):
    """A step of descent at rate 1, so that parameters move by their gradient."""
    descent = optax.sgd(1.0)
    state = step.create(descent, PARAMS, ("^w",), lambda params, key: {"spread": jnp.arange(3.0)})
    return state, step.make(loss, descent, lambda s: jnp.float32(1), 0, ("^w",), grad_accum=groups)


@pytest.mark.parametrize("devices", [1, 2])
def test_groups_have_the_gradient_of_the_whole(devices):
    state, advance = program(PARTS)
    mesh = parallel.make_mesh(devices)
    with jax.set_mesh(mesh):
        placed = parallel.place(mesh, state), parallel.shard(mesh, BATCH)
        compiled = jax.jit(advance, out_shardings=parallel.whole(mesh)).lower(*placed).compile()
        moved, scalars = compiled(*placed)
    x = BATCH["x"].astype(np.float64)
    error = x @ PARAMS["w"] + PARAMS["frozen"] - BATCH["y"]
    gradient = 2 * x.T @ error / ROWS
    np.testing.assert_allclose(moved.params["w"], PARAMS["w"] - gradient, rtol=1e-5)
    np.testing.assert_allclose(scalars["loss"], (error**2).mean(), rtol=1e-6)
    np.testing.assert_allclose(scalars["gradient_norm"], np.linalg.norm(gradient), rtol=1e-6)
    assert moved.params["frozen"] == PARAMS["frozen"]
    spreads = np.mean([x[part::PARTS].std(axis=0) for part in range(PARTS)], axis=0)
    expected = 0.9 * np.arange(3) + 0.1 * spreads
    np.testing.assert_allclose(moved.memory["spread"], expected, rtol=1e-6)
    assert scalars["square"] - scalars["coin"] ** 2 > 1e-3  # coins of their own
    text = compiled.as_text()
    assert text
    for exchange in ("all-gather", "all-to-all", "collective-permute"):
        assert exchange not in text


def remembering(params, state, batch, key, epoch, *, train=True):
    """`small_run.loss`; it remembers a fading sum of the largest inputs."""
    del epoch
    value, named = small_run.loss(params, batch, key, train=train)
    return value, named, {"bias": 0.5 * state["bias"] + jnp.abs(batch["video"]).max()}


def stopped_before_the_third(start):
    for index, batch in enumerate(small_run.batches(start), start):
        if index == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        yield batch


def biases(steps):
    """Returns the state of `remembering` after each step of two groups."""
    bias, computed = 0.0, []
    for _, batch in zip(range(steps), small_run.batches(0), strict=False):
        largest = [np.abs(batch["video"][part::2]).max() for part in range(2)]
        bias = 0.5 * bias + np.mean(largest)
        computed.append(bias)
    return computed


@pytest.mark.slow
def test_groups_resume_and_what_is_settled_is_evaluated_and_given(tmp_path):
    measured, kept = [], []

    def measure(at, params):
        measured.append(params["head"]["bias"][0])
        return float(at)

    train = partial(
        small_run.train,
        plan=dataclasses.replace(small_run.PLAN, steps=4),
        objective=remembering,
        init_loss_state=lambda params, key: {"bias": jnp.float32(0)},
        grad_accum=2,
        eval_params=lambda params, state: {**params, "head": {"bias": jnp.full(2, state["bias"])}},
        trials=Trials(2, "val", measure, lambda at, params: kept.append(params["head"]["bias"][0])),
    )
    whole = train(tmp_path / "whole")
    _, second, _, last = biases(4)
    np.testing.assert_allclose(measured, [second, last], rtol=1e-6)
    np.testing.assert_allclose(kept, [second, last], rtol=1e-6)
    np.testing.assert_allclose(whole.params["head"]["bias"], [last, last], rtol=1e-6)

    assert train(tmp_path / "cut", source=stopped_before_the_third).step == 3
    again = train(tmp_path / "cut")
    chex.assert_trees_all_equal(again.params, whole.params)
    curves = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "cut")]
    assert curves[0] == curves[1]


def test_devices_and_groups_must_share_a_batch_evenly(tmp_path):
    message = "batch_size=8 cannot be split over 2 devices in config.train.groups=3 groups; use a"
    with pytest.raises(UserError, match=f"{message} multiple of 6, or set config.mesh.data"):
        small_run.train(tmp_path, devices=2, grad_accum=3)
