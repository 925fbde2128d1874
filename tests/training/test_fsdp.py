"""State that is split over devices: bytes on each, curves of replicated state, other meshes."""

import dataclasses
import json
import math
import os
import signal
from functools import partial

import chex
import jax
import numpy as np
import pytest
import small_run

import tokmerge_jax
from benchmarks.training import memory
from tokmerge_jax import parallel
from tokmerge_jax.configs import msrvtt_l16
from tokmerge_jax.training import optimizer, step
from tokmerge_jax.training.loop import training_of

REMEMBERING = {
    "objective": small_run.remembering_loss,
    "init_loss_state": small_run.remember,
}


def numbers(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [[r["loss"], r["gradient_norm"]] for r in map(json.loads, lines)]


@pytest.fixture
def split_all(monkeypatch):
    """Also arrays as small as those of `small_run`."""
    monkeypatch.setattr(parallel, "_LEAST", 1)


@pytest.mark.slow
@pytest.mark.parametrize("fsdp", [2, 8])
def test_a_device_holds_an_nth_of_a_large_state(fsdp):
    system = tokmerge_jax.build(msrvtt_l16.get_config())
    training = training_of(system)
    begin = partial(step.create, training.optimizer(optimizer.cosine(0.1, steps=9, min_share=0.0)))
    state = parallel.abstract(
        parallel.make_mesh(fsdp=fsdp), jax.eval_shape(begin, system.weights.shapes)
    )
    leaves = jax.tree.leaves(state)
    parameters = sum(x.size for x in jax.tree.leaves(state.params))
    assert parameters > 600e6
    total = 4 * sum(x.size for x in leaves)
    assert total == pytest.approx(3 * 4 * parameters, rel=1e-6)  # two moments
    held = 4 * sum(math.prod(x.sharding.shard_shape(x.shape)) for x in leaves)
    assert total / fsdp <= held < 1.01 * total / fsdp


@pytest.mark.slow
def test_a_compiled_step_holds_an_nth():
    """L/16 with few layers: what grows with depth is alike."""
    shallow = {
        "model.vision.depth": 1,
        "model.text.depth": 2,
        "model.text.fusion_layer": 1,
        "model.merger.name": "none",
        "data.max_text_length": 8,
        "model.vision.frames": 1,
        "train.batch_size": 8,
    }
    config = msrvtt_l16.get_config().override({**shallow, "mesh.fsdp": 8})
    system = tokmerge_jax.build(config)
    (held,) = memory(system)
    parameters = 4 * sum(x.size for x in jax.tree.leaves(system.weights.shapes))
    assert held["parameters"] == pytest.approx(parameters / 8, rel=0.01)
    assert held["optimiser"] == pytest.approx(2 * parameters / 8, rel=0.01)  # two moments
    assert held["arguments"] - held["batch"] == pytest.approx(3 * parameters / 8, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("how", [{}, REMEMBERING], ids=["plain", "remembering"])
def test_the_curve_is_that_of_one_device(tmp_path, split_all, how):
    plan = dataclasses.replace(small_run.PLAN, steps=6)
    one = small_run.train(tmp_path / "one", plan, **how)
    many = small_run.train(tmp_path / "many", plan, devices=2, fsdp=2, **how)
    np.testing.assert_allclose(numbers(tmp_path / "many"), numbers(tmp_path / "one"), rtol=1e-4)
    chex.assert_trees_all_close(many.params, one.params, rtol=1e-4, atol=1e-5)
    kernel = many.params["video"]["kernel"]  # [6,4]
    assert kernel.sharding.shard_shape(kernel.shape) == (3, 4)


@pytest.mark.slow
def test_a_run_goes_on_with_another_mesh(tmp_path, split_all):
    def stopped(start):
        for index, batch in enumerate(small_run.batches(start), start):
            if index in (2, 5):
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    whole = small_run.train(tmp_path / "whole")
    cut = tmp_path / "cut"
    first = small_run.train(cut, devices=1, fsdp=4, source=stopped)
    second = small_run.train(cut, devices=2, fsdp=2, source=stopped)
    last = small_run.train(cut, devices=1, fsdp=1)
    assert (first.step, second.step, last.step) == (3, 6, 10)
    np.testing.assert_allclose(numbers(cut), numbers(tmp_path / "whole"), rtol=1e-4)
    chex.assert_trees_all_close(last.params, whole.params, rtol=1e-4, atol=1e-5)
