"""Checkpoints of a training on an object store: pieces of arrays, kills, damage, other meshes."""

import json
import os
import signal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import object_store
import pytest
import small_run

from tokmerge_jax import objects, parallel
from tokmerge_jax.training.loop import Trials
from tokmerge_jax.training.states import ObjectStates
from tokmerge_jax.training.step import TrainState
from tokmerge_jax.types import UserError


@pytest.fixture(scope="module", autouse=True)
def store():
    with object_store.running():
        yield


def losses(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [[r["loss"], r["gradient_norm"]] for r in map(json.loads, lines)]


def stopped(start):
    """Batches of which the fifth asks to stop."""
    for index, batch in enumerate(small_run.batches(start), start):
        if index == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        yield batch


@pytest.fixture
def place(request):
    return objects.place(f"s3://bucket/states/{request.node.name}")


@pytest.fixture
def state(monkeypatch):
    monkeypatch.setattr(parallel, "_LEAST", 1)
    params = {
        "kernel": jnp.arange(48.0).reshape(6, 8),
        "narrow": jnp.asarray([1.5, -3e38, 1e-30, 0], jnp.bfloat16),
    }
    return TrainState(jnp.int32(7), params, (jnp.arange(5), None))


def on(mesh, state):
    return parallel.abstract(mesh, jax.eval_shape(lambda: state))


def test_split_arrays_are_put_together_on_another_mesh(place, state):
    many, few = parallel.make_mesh(2, 4), parallel.make_mesh(1, 2)
    states = ObjectStates(place, keep=2)
    assert states.latest() == 0
    for step in (3, 10, 11):
        states.save(step, parallel.place(many, state))
    assert sorted(int(folder.name) for folder in place.iterdir()) == [10, 11]
    (place / "11" / "complete.json").unlink()  # killed before it was written
    (place / "11" / "1.npz").write_bytes(b"of more processes")
    again = ObjectStates(place, keep=2)
    assert again.latest() == 10
    restored = again.restore(10, on(few, state))
    chex.assert_trees_all_equal(restored, state)
    assert restored.params["kernel"].sharding == on(few, state).params["kernel"].sharding
    again.save(11, restored)
    chex.assert_trees_all_equal(states.restore(11, on(many, state)), state)


def test_missing_and_damaged_pieces(place, state):
    mesh, states = parallel.make_mesh(1, 2), ObjectStates(place, keep=1)
    states.save(1, parallel.place(mesh, state))
    more = state.replace(params={**state.params, "new": jnp.zeros(3)})
    with pytest.raises(ValueError, match="it holds 0 of 3 numbers of "):
        states.restore(1, on(mesh, more))
    file = place / "1" / "0.npz"
    content = file.read_bytes()
    number = content.index(np.float32(13).tobytes())
    file.write_bytes(content[:number] + b"?" + content[number + 1 :])
    with pytest.raises(Exception, match="CRC"):
        states.restore(1, on(mesh, state))


@pytest.mark.slow
def test_a_stopped_run_goes_on_as_in_a_local_folder(place, tmp_path):
    trials = Trials(
        5, "bias", lambda step, params: float(params["head"]["bias"][0]), lambda *_: None
    )
    whole = small_run.train(tmp_path, trials=trials)
    assert small_run.train(place, source=stopped, trials=trials).step == 6
    assert (place / "metrics.jsonl").read_bytes().count(b"\n") == 6
    again = small_run.train(place, start=lambda: None, devices=2, trials=trials)
    chex.assert_trees_all_close(again.params, whole.params, rtol=1e-5)
    np.testing.assert_allclose(losses(place), losses(tmp_path), rtol=1e-5)
    assert (place / "trials.jsonl").read_text().count("\n") == 2
    assert sorted(int(folder.name) for folder in (place / "checkpoints").iterdir()) == [8, 10]


def test_a_damaged_checkpoint_is_one_sentence(place):
    small_run.train(place)
    (place / "checkpoints" / "10" / "0.npz").write_bytes(b"cut")
    said = f"{place}/checkpoints/10, a checkpoint, is damaged .*; remove that folder to resume"
    with pytest.raises(UserError, match=said):
        small_run.train(place)
