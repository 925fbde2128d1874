"""A run that is stopped, crashed or killed goes on as if nothing had happened; and on any mesh."""

import dataclasses
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import chex
import jax
import numpy as np
import pytest
import small_run

from tokmerge_jax.config import clip, tds_clip, umt
from tokmerge_jax.training.loop import Trials
from tokmerge_jax.training.plan import Plan
from tokmerge_jax.training.run import identity
from tokmerge_jax.types import UserError


def curve(folder):
    return (folder / "metrics.jsonl").read_text()


def until(step, act):
    """Batches that do `act` before giving that of `step`."""

    def batches(start):
        for index, batch in enumerate(small_run.batches(start), start):
            if index == step:
                act()
            yield batch

    return batches


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, small_run.train(folder)


def test_loss_falls_and_every_step_is_logged(whole):
    folder, report = whole
    records = [json.loads(line) for line in curve(folder).splitlines()]
    assert report.step == 10
    assert [r["step"] for r in records] == list(range(10))
    assert records[-1]["loss"] < 0.6 * records[0]["loss"]
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["10", "8"]
    for record in records:
        np.testing.assert_allclose(record["loss"], record["vtc"] + record["vtm"], rtol=1e-6)


@pytest.mark.slow
def test_a_stopped_run_saves_and_goes_on(whole, tmp_path):
    stop = partial(os.kill, os.getpid(), signal.SIGTERM)
    usual = signal.getsignal(signal.SIGTERM)
    report = small_run.train(tmp_path, source=until(5, stop))
    assert report.step == 6
    assert signal.getsignal(signal.SIGTERM) == usual
    starts = []
    again = small_run.train(tmp_path, start=lambda: starts.append(1))
    assert not starts
    assert curve(tmp_path) == curve(whole[0])
    chex.assert_trees_all_equal(again.params, whole[1].params)


@pytest.mark.slow
def test_a_run_that_trains_a_part_resumes_too(tmp_path):
    """Checks a training like LoRA's: frozen parameters stay, and have no moments to restore."""
    trainable = ("^text/", "temperature")
    whole = small_run.train(tmp_path / "whole", trainable=trainable)
    stop = partial(os.kill, os.getpid(), signal.SIGTERM)
    assert small_run.train(tmp_path / "cut", source=until(5, stop), trainable=trainable).step == 6
    again = small_run.train(tmp_path / "cut", trainable=trainable)
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")
    chex.assert_trees_all_equal(again.params, whole.params)
    start = small_run.initial()
    np.testing.assert_array_equal(again.params["video"]["kernel"], start["video"]["kernel"])
    assert not np.array_equal(again.params["text"]["kernel"], start["text"]["kernel"])


@pytest.mark.slow
def test_what_a_loss_remembers_is_resumed_and_alike_on_any_mesh(tmp_path):
    plan = dataclasses.replace(small_run.PLAN, steps=6)
    train = partial(
        small_run.train,
        plan=plan,
        objective=small_run.remembering_loss,
        init_loss_state=small_run.remember,
    )
    whole = train(tmp_path / "whole")
    stop = partial(os.kill, os.getpid(), signal.SIGTERM)
    assert train(tmp_path / "cut", source=until(2, stop)).step == 3
    again = train(tmp_path / "cut")
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")
    chex.assert_trees_all_equal(again.params, whole.params)
    records = [json.loads(line) for line in curve(tmp_path / "whole").splitlines()]
    shares = [0, 0.08, 0.16, 0.24, 0.32, 0.4]
    np.testing.assert_allclose([r["share"] for r in records], shares, rtol=1e-6)
    eight = train(tmp_path / "eight", devices=8)
    chex.assert_trees_all_close(eight.params, whole.params, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_crashed_run_repeats_the_steps_after_its_checkpoint(whole, tmp_path):
    def crash():
        raise OSError("no more frames")

    with pytest.raises(OSError, match="no more frames"):
        small_run.train(tmp_path, source=until(7, crash))
    assert len(curve(tmp_path).splitlines()) == 6  # the seventh was under way
    asked = []

    def batches(start):
        asked.append(start)
        return small_run.batches(start)

    small_run.train(tmp_path, source=batches)
    assert asked == [4]
    assert curve(tmp_path) == curve(whole[0])


@pytest.mark.slow
def test_a_killed_run_goes_on(whole, tmp_path):
    command = [sys.executable, small_run.__file__, str(tmp_path), "10"]
    process = subprocess.Popen([*command, "0.2"])
    deadline = time.monotonic() + 120
    while not (tmp_path / "metrics.jsonl").exists() or len(curve(tmp_path).splitlines()) < 6:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    subprocess.run([*command, "0"], check=True)
    assert curve(tmp_path) == curve(whole[0])


def test_a_finished_run_does_nothing(tmp_path):
    plan = dataclasses.replace(small_run.PLAN, steps=2)
    first = small_run.train(tmp_path, plan)
    again = small_run.train(tmp_path, plan, source=lambda step: pytest.fail("asked for batches"))
    assert again.step == 2
    chex.assert_trees_all_equal(again.params, first.params)


def test_eight_devices_train_as_one(whole, tmp_path):
    report = small_run.train(tmp_path, devices=8)
    one, eight = (
        [[r["loss"], r["gradient_norm"]] for r in map(json.loads, curve(folder).splitlines())]
        for folder in (whole[0], tmp_path)
    )
    np.testing.assert_allclose(eight, one, rtol=1e-4)
    chex.assert_trees_all_close(report.params, whole[1].params, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_step_knows_the_devices(tmp_path):
    """Attention asks for the mesh, to keep all devices at work."""
    seen = []

    def asking(*args, **kwargs):
        seen.append(jax.sharding.get_abstract_mesh().size)
        return small_run.loss(*args, **kwargs)

    plan = dataclasses.replace(small_run.PLAN, steps=1)
    small_run.train(tmp_path, plan, devices=4, objective=asking)
    assert seen == [4]


def test_devices_must_share_a_batch_evenly(tmp_path):
    with pytest.raises(UserError, match="batch_size=8 cannot be split over 3 devices"):
        small_run.train(tmp_path, devices=3)


def test_the_step_is_compiled_once(tmp_path):
    traced = []

    def counted(*args, **kwargs):
        traced.append(1)
        return small_run.loss(*args, **kwargs)

    small_run.train(tmp_path, dataclasses.replace(small_run.PLAN, steps=3), objective=counted)
    assert len(traced) == 1


def test_another_setting_is_refused_by_name(tmp_path):
    plan = dataclasses.replace(small_run.PLAN, steps=1)
    small_run.train(tmp_path, plan)
    with pytest.raises(UserError, match=r"lr 0.05 -> 0.1\)"):
        small_run.train(tmp_path, dataclasses.replace(plan, learning_rate=0.1))


def test_a_run_that_never_made_a_step_holds_no_settings(whole, tmp_path):
    def fail(step):
        raise UserError("no such checkpoint")

    with pytest.raises(UserError, match="no such"):
        small_run.train(tmp_path, dataclasses.replace(small_run.PLAN, seed=9), source=fail)
    small_run.train(tmp_path)
    assert curve(tmp_path) == curve(whole[0])


@pytest.mark.slow
def test_a_batch_that_cannot_be_had_loses_no_step(whole, tmp_path):
    def fail():
        raise UserError("a.mp4 cannot be decoded")

    with pytest.raises(UserError, match=r"a\.mp4"):
        small_run.train(tmp_path, source=until(7, fail))
    asked = []
    small_run.train(tmp_path, source=lambda step: asked.append(step) or small_run.batches(step))
    assert asked == [7]
    assert curve(tmp_path) == curve(whole[0])


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    broken = ({**b, "video": b["video"] * np.nan} for b in small_run.batches(0))
    with pytest.raises(UserError, match="loss of step 0 is nan"):
        small_run.train(tmp_path, source=lambda step: itertools.chain(broken))


def config(**train):
    train = {"batch_size": 4, "epochs": 3, "warmup_epochs": 0.5, "checkpoint_every": 9, **train}
    return umt.Retrieval().override({"train": train})


def test_plan_counts_whole_batches():
    plan = Plan.of(config(), rows=19)
    assert (plan.steps, plan.warmup_steps, plan.steps_per_epoch) == (12, 2, 4)


def test_plan_refuses_a_batch_that_the_data_cannot_fill():
    with pytest.raises(UserError, match="batch_size=4 must be from 1 to the 3 rows"):
        Plan.of(config(), rows=3)


def test_identity_is_what_the_curve_depends_on():
    settings = identity(config(), rows=19)
    free = config(checkpoint_every=1, keep_checkpoints=5)
    free = free.override({"output": "b", "data.workers": 0})
    assert identity(free, rows=19) == settings
    assert identity(config(epochs=4), rows=19) != settings
    assert identity(config(), rows=18) != settings
    whole, grouped = clip.Retrieval(), tds_clip.Recognition()
    parts, groups = {"train.parts": 2}, {"train.groups": 2}
    assert identity(whole.override(parts), 19) == identity(whole, 19)  # to the same gradient
    assert identity(grouped.override(groups), 19) != identity(grouped, 19)  # batch norms see one
    assert jax.tree.all(jax.tree.map(lambda v: not isinstance(v, dict), settings))


def trials(values, kept, asked):
    """Evaluations after every third step that find the next of `values`."""

    def measure(step, params):
        asked.append(step)
        return values[step]

    def keep(step, params):
        kept.append((step, float(params["temperature"])))

    return Trials(3, "on val", measure, keep)


def test_trials_keep_the_best(tmp_path):
    values, kept, asked = {3: 10.0, 6: 30.0, 9: 30.0, 10: 20.0}, [], []
    small_run.train(tmp_path, trials=trials(values, kept, asked))
    assert asked == [3, 6, 9, 10]
    assert [step for step, _ in kept] == [3, 6]  # the first of equals
    lines = (tmp_path / "trials.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": step, "value": value, "protocol": "on val"} for step, value in values.items()
    ]


@pytest.mark.slow
@pytest.mark.slow
def test_a_trial_that_is_no_number_is_neither_kept_nor_noted(tmp_path):
    kept, asked = [], []
    with pytest.raises(UserError, match=r"the evaluation of step \d+ is nan"):
        small_run.train(tmp_path, trials=trials({3: np.nan}, kept, asked))
    assert not kept
    assert not (tmp_path / "trials.jsonl").exists()


@pytest.mark.slow
def test_trials_of_another_protocol_are_not_compared(tmp_path):
    values, kept, asked = {3: 50.0, 6: 10.0, 9: 20.0, 10: 15.0}, [], []
    stop = partial(os.kill, os.getpid(), signal.SIGTERM)
    first = trials(values, kept, asked)
    small_run.train(tmp_path, trials=first, source=until(3, stop))
    small_run.train(tmp_path, trials=dataclasses.replace(first, protocol="on test"))
    assert [step for step, _ in kept] == [3, 6, 9]
    assert asked == [3, 6, 9, 10]


@pytest.mark.slow
def test_trials_neither_repeat_nor_get_lost(whole, tmp_path):
    values, kept, asked = {3: 1.0, 6: 3.0, 9: 2.0, 10: 0.0}, [], []

    def killed(step, params):
        raise KeyboardInterrupt

    first = dataclasses.replace(trials(values, kept, asked), measure=killed)
    with pytest.raises(KeyboardInterrupt):
        small_run.train(tmp_path, trials=first)
    report = small_run.train(tmp_path, trials=trials(values, kept, asked))
    assert asked == [3, 6, 9, 10]
    small_run.train(tmp_path, trials=trials(values, kept, asked))
    assert asked == [3, 6, 9, 10]
    assert curve(tmp_path) == curve(whole[0])  # evaluating leaves the training as it is
    chex.assert_trees_all_equal(report.params, whole[1].params)


@pytest.mark.parametrize(
    ("name", "line", "says"),
    [
        ("metrics.jsonl", "{", r"metrics\.jsonl, line 2, is damaged; put a copy"),
        ("metrics.jsonl", '{"step": 1, "loss": "low"}', r"metrics\.jsonl, line 2, is damaged"),
        ("trials.jsonl", "[" * 60_000, r"trials\.jsonl, line 2, is damaged; remove that line"),
        ("trials.jsonl", '{"step": 1, "value": 2.0}', r"trials\.jsonl, line 2, is damaged"),
        ("config.json", "[]", r"config\.json is damaged; start again in another config\.output"),
        ("config.json", "\xff", r"config\.json is damaged"),
    ],
)
def test_a_damaged_file_of_a_run_is_named_before_it_goes_on(whole, tmp_path, name, line, says):
    shutil.copytree(whole[0], tmp_path / "run")
    file = tmp_path / "run" / name
    trial = '{"step": 4, "value": 2.0, "protocol": ""}'
    lines = file.read_text().splitlines() if name == "metrics.jsonl" else [trial, trial]
    lines = [line] if name == "config.json" else [lines[0], line, *lines[2:]]
    file.write_text("\n".join(lines) + "\n", "latin1")
    with pytest.raises(UserError, match=says):
        small_run.train(tmp_path / "run")


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_goes_on(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "10"
    for file in last.rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:7])
    with pytest.raises(UserError, match=r"checkpoints/10, a checkpoint, is damaged .*remove that"):
        small_run.train(tmp_path / "run")
    shutil.rmtree(last)
    again = small_run.train(tmp_path / "run")
    chex.assert_trees_all_equal(again.params, whole[1].params)
    assert curve(tmp_path / "run") == curve(whole[0])
