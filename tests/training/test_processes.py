"""Training by several processes: the curve of one, stops that all agree on, other numbers."""

import json
import os
import pathlib
import subprocess
import sys

import chex
import numpy as np
import object_store
import pytest
import small_trainings

import tokmerge_jax
from tokmerge_jax import checkpoints, objects

ROOT = pathlib.Path(__file__).parents[2]
_QUICK = (  # as in conftest.py: these programs take longer to optimise than to run
    "--xla_backend_optimization_level=0 --xla_cpu_opt_preset=CPU_OPT_PRESET_FAST_COMPILE"
)


def start(processes, devices, program, *arguments):
    sizes = ("--processes", processes, "--devices", devices)
    command = [sys.executable, "scripts/launch.py", *sizes, f"tests/support/{program}.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": _QUICK}
    return subprocess.Popen(
        list(map(str, (*command, *arguments))),
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(processes, devices, program, *arguments, code=0):
    """Returns the text printed to both streams."""
    process = start(processes, devices, program, *arguments)
    said, errors = process.communicate(timeout=400)
    assert process.returncode == code, errors
    return said, errors


def numbers(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [[r["loss"], r["gradient_norm"]] for r in map(json.loads, lines)]


@pytest.fixture(scope="module")
def curve(tmp_path_factory):
    """Returns the curve of one process, which has two devices."""
    folder = tmp_path_factory.mktemp("one")
    run(1, 2, "small_processes", folder, "")
    return numbers(folder)


@pytest.mark.slow
def test_each_kind_of_training_has_the_curve_of_one_process(tmp_path):
    """The one writes to a local folder, two to an object store."""
    small_trainings.prepare(tmp_path)
    with object_store.running():
        one, two = tmp_path / "one", objects.place("s3://bucket/trainings")
        run(1, 2, "small_trainings", tmp_path, one)
        run(2, 1, "small_trainings", tmp_path, two)
        compare(one, two)


def compare(one, two):
    for name, config in small_trainings.CONFIGS.items():
        shared, alone = numbers(two / name), numbers(one / name)
        assert len(shared) == 2 * config.train.samples
        np.testing.assert_allclose(shared, alone, rtol=2e-5)
        assert (two / name / "parameters" / "constants.json").exists()
        assert (two / name / "loss.png").exists()
    trials = [(folder / "umt" / "trials.jsonl").read_text() for folder in (one, two)]
    assert trials[0] == trials[1]
    system = tokmerge_jax.build(small_trainings.CONFIGS["umt"])
    best = [checkpoints.load_checkpoint(folder / "umt" / "best", system) for folder in (one, two)]
    chex.assert_trees_all_close(*best, rtol=2e-5, atol=1e-6)


@pytest.mark.slow
def test_what_one_process_meets_stops_all_and_other_numbers_go_on(tmp_path, curve):
    """A signal, then a batch that one of them cannot read, each by the last process alone."""
    said, _ = run(2, 2, "small_processes", tmp_path, "term:batch:3")
    assert said.split()[-1] == "4"  # the number of steps
    _, errors = run(2, 1, "small_processes", tmp_path, "fault:batch:6", code=2)
    assert errors.count("b.mp4 cannot be decoded") == 1
    assert "Traceback" not in errors
    assert sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) == [5, 6]
    run(1, 4, "small_processes", tmp_path, "")
    np.testing.assert_allclose(numbers(tmp_path), curve, rtol=1e-5)


@pytest.mark.slow
def test_killed_and_resumed_by_other_numbers(tmp_path, curve):
    """In a checkpoint, before an evaluation is logged, at the end; by hand, at all `MOMENTS`."""
    killed(tmp_path, curve, (MOMENTS[2], MOMENTS[4], MOMENTS[9]))


@pytest.mark.slow
def test_killed_and_resumed_on_an_object_store(curve):
    """While two processes write a checkpoint."""
    place = "s3://bucket/training"
    with object_store.running():
        run(2, 2, "small_processes", place, "kill:save:8", code=9)
        run(1, 2, "small_processes", place, "")
        np.testing.assert_allclose(numbers(objects.place(place)), curve, rtol=1e-5)


MOMENTS = (
    (2, "compile:0"),
    (1, "batch:2"),
    (2, "save:4"),
    (4, "batch:4"),
    (1, "log_trial:5"),
    (2, "trial:5"),
    (2, "batch:7"),
    (4, "save:8"),
    (2, "trial:10"),
    (2, "end:10"),
)
"""Number of processes, and when the last one is killed."""


def killed(folder, curve, moments=MOMENTS):
    """Trains in spite of kills; the log is that of a run without any."""
    for processes, moment in moments:
        run(processes, 4 // processes, "small_processes", folder, f"kill:{moment}", code=9)
    run(1, 2, "small_processes", folder, "")
    np.testing.assert_allclose(numbers(folder), curve, rtol=1e-5)
    trials = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    assert [trial["step"] for trial in trials] == [5, 10]
