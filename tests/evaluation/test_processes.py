"""Evaluations by several processes: the numbers of one, shared work, kills and resuming."""

import os
import pathlib
import signal
import subprocess
import sys
import time
from itertools import chain

import numpy as np
import object_store
import pytest
import row_batches
import small_evaluations
import small_gallery

from tokmerge_jax import disk, objects
from tokmerge_jax.types import UserError

ROOT = pathlib.Path(__file__).parents[2]
PROGRAM = "tests/support/small_evaluations.py"
WORK = {"gallery": 13, "questions": 5, "choices": 9, "actions": 9}
"""Number of videos that each evaluation encodes."""


def start(folder, processes, devices=1, pause=0.0, run=None):
    folder.mkdir(exist_ok=True)
    sizes = ("--processes", processes, "--devices", devices)
    command = [sys.executable, "scripts/launch.py", *sizes, PROGRAM, folder, pause, run or folder]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        list(map(str, command)), cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return said


def seen(folder):
    """Process -> the rows that it encoded, in order."""
    files = sorted(folder.glob("seen.*"))
    return {int(file.suffix[1:]): file.read_text().split("\n")[:-1] for file in files}


def encoded(folder):
    """The rows that all processes encoded."""
    return list(chain(*seen(folder).values()))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    def watched(name, video):
        return lambda size, rows: row_batches.batches(video, size, rows)

    return small_evaluations.run(tmp_path_factory.mktemp("alone"), watched)


def check(folder, alone):
    with np.load(folder / "out.npz") as arrays:
        assert arrays.keys() == alone.keys()
        for name in arrays:
            np.testing.assert_allclose(arrays[name], alone[name], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(arrays["answers"], alone["answers"])
        expected = small_gallery.by_hand()
        for name, values in zip(
            ("similarity", "text_to_video", "video_to_text"), expected, strict=True
        ):
            np.testing.assert_allclose(arrays[name], values, rtol=1e-4, atol=1e-5)


def shares(folder, processes, alone):
    """Checks the numbers, and that every video was encoded once, by shares that differ by one."""
    check(folder, alone)
    rows = seen(folder)
    for name, videos in WORK.items():
        each = [sum(row.startswith(name) for row in rows.get(n, ())) for n in range(processes)]
        assert sum(each) == videos
        assert max(each) - min(each) <= 1
    assert len(set(encoded(folder))) == len(encoded(folder))


@pytest.mark.slow
def test_two_processes_share_every_evaluation(tmp_path, alone):
    finish(start(tmp_path, 2))
    shares(tmp_path, 2, alone)


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "devices"), [(2, 2), (4, 1)])
def test_any_number_of_processes_and_devices(tmp_path, alone, processes, devices):
    finish(start(tmp_path, processes, devices))
    shares(tmp_path, processes, alone)


@pytest.mark.slow
def test_killed_and_resumed_by_other_numbers(tmp_path, alone):
    """What was written before each of ten kills is not computed again."""
    kills = 0
    for number, processes in enumerate((4, 1, 2, 3, 1, 2, 1, 2, 1, 2)):
        run, before = start(tmp_path, processes, pause=0.2), len(encoded(tmp_path))
        while run.poll() is None and len(encoded(tmp_path)) < before + 3:
            time.sleep(0.02)
        if run.poll() is None:
            children = pathlib.Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
            os.kill(int(children[number % processes]), signal.SIGKILL)
            run.communicate(timeout=60)
            assert run.returncode == signal.SIGKILL
            kills += processes
    finish(start(tmp_path, 2))
    check(tmp_path, alone)
    assert len(set(encoded(tmp_path))) == sum(WORK.values())
    # At most three batches of two are in flight.
    assert len(encoded(tmp_path)) <= sum(WORK.values()) + 6 * kills


@pytest.mark.slow
def test_two_runs_in_one_folder(tmp_path, alone):
    first = start(tmp_path, 2, pause=0.3)
    while not seen(tmp_path):
        time.sleep(0.05)
    _, said = start(tmp_path, 2).communicate(timeout=60)
    assert f"{tmp_path} is being written by process" in said
    assert "Traceback" not in said
    first.terminate()
    first.communicate(timeout=60)
    finish(start(tmp_path, 2))  # the launcher has ended its processes
    check(tmp_path, alone)


@pytest.mark.slow
def test_killed_and_resumed_on_an_object_store(tmp_path):
    """The numbers are those of a local folder, to the bit; what was written is not done again."""
    total, local, place = sum(WORK.values()), tmp_path / "local", "s3://bucket/run"
    with object_store.running():
        run = start(tmp_path, 1, pause=0.3, run=place)
        while len(encoded(tmp_path)) < 5:
            time.sleep(0.05)
        with pytest.raises(UserError, match="is being written by"), disk.held(objects.place(place)):
            pass
        children = pathlib.Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        run.communicate(timeout=60)
        assert 5 <= len(encoded(tmp_path)) < total
        finish(start(tmp_path, 2, run=place))
    assert total <= len(encoded(tmp_path)) <= total + 6
    finish(start(local, 2))
    with np.load(tmp_path / "out.npz") as there, np.load(local / "out.npz") as here:
        assert there.keys() == here.keys()
        for name in here:
            np.testing.assert_array_equal(there[name], here[name])
