"""Several processes that are one run: how they join, exchange values, print and end."""

import pathlib
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tokmerge_jax import hosts
from tokmerge_jax.types import UserError

ROOT = pathlib.Path(__file__).parents[1]
PROGRAM = "tests/support/small_hosts.py"


def python(*arguments, **variables):
    command = [sys.executable, *map(str, arguments)]
    path = {"PYTHONPATH": str(ROOT), "XLA_FLAGS": "", "PATH": "", **variables}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=path, timeout=120)


def launched(deed, processes=2):
    return python("scripts/launch.py", "--processes", processes, "--devices", 2, PROGRAM, deed)


def test_a_run_of_one_process():
    assert (hosts.count(), hosts.number()) == (1, 0)
    assert hosts.gather({"a": [1, None]}) == [{"a": [1, None]}]
    assert hosts.share(np.array([4, 2, 9])).tolist() == [4, 2, 9]
    with hosts.together():
        hosts.join("off")


@pytest.mark.parametrize(
    ("variables", "several"),
    [
        ({}, False),
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "4"}, False),  # a shell in an allocation
        ({"SLURM_STEP_NUM_TASKS": "4"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
        ({"TPU_WORKER_HOSTNAMES": "t1k-w0,t1k-w1"}, True),
    ],
)
def test_a_cluster_is_known_by_its_variables(monkeypatch, variables, several):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert hosts.detected() == ("auto" if several else "off")


@pytest.mark.parametrize(
    "where", ["on", "here:1,2", "here,2,0", "here:1,2,2", "here:1,0,0", "here:65536,2,1"]
)
def test_an_address_that_is_none(where):
    with pytest.raises(
        UserError, match=rf"--distributed={where}: it must be auto, off or HOST:PORT"
    ):
        hosts.join(where)


def test_a_port_in_use():
    with (
        socket.create_server(("", 0)) as taken,
        pytest.raises(UserError, match=r"already in use.*; choose another port"),
    ):
        hosts.join(f"localhost:{taken.getsockname()[1]},2,0")


def test_a_service_that_does_not_start(monkeypatch):
    def initialize(*_, **__):
        raise RuntimeError("UNAVAILABLE: no thread")

    monkeypatch.setattr(hosts, "_links", None)
    monkeypatch.setattr(hosts.links, "meet", lambda *_: hosts.Links(0, 1, {}))
    monkeypatch.setattr(hosts.Links, "watch", lambda _: None)
    monkeypatch.setattr(hosts.jax.distributed, "initialize", initialize)
    fault = r"--distributed=here:9,1,0: JAX does not connect the processes \(UNAVAILABLE: no"
    with pytest.raises(UserError, match=fault):
        hosts.join("here:9,1,0")


@pytest.mark.slow
def test_two_processes_share_and_only_the_first_prints():
    run = launched("nothing")
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[0] == "[[0, 2, 4, 6], [1, 3, 5]]"
    assert "only process 0 says this" in run.stderr
    assert "only process 1" not in run.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("deed", "says", "code"),
    [
        ("fault:0", "b.mp4 cannot be decoded", 2),
        ("fault:2", "process 2 of 3: b.mp4 cannot be decoded", 2),
        ("fault", "b.mp4 cannot be decoded", 2),
        ("bug:1", "process 1 of 3: ValueError('no such thing')", 1),
        ("late:0", "process 0 of 3: stopped by SIGTERM", 1),
        ("late:2", "process 2 of 3: stopped by SIGTERM", 1),
        ("kill:0", "process 0 was killed (signal 9)", 9),
        ("kill:1", "process 1 of 3: lost (it was killed", 9),
    ],
)
def test_a_fault_of_one_process_ends_all(deed, says, code):
    begun = time.monotonic()
    run = launched(deed, processes=3)
    assert run.returncode == code
    assert run.stderr.count(says) == 1
    assert ("Traceback" in run.stderr) == deed.startswith("bug")
    assert "Check failure stack trace" not in run.stderr
    others = run.stderr.count("process 0 of 3: lost (it was killed")  # who report it, or process 0
    assert others == 2 * (deed == "kill:0")
    assert time.monotonic() - begun < 40


@pytest.mark.slow
def test_tasks_of_slurm_find_each_other():
    job = {"JOB_ID": "4711", "STEP_NODELIST": "localhost", "NTASKS": "2", "STEP_NUM_TASKS": "2"}
    with ThreadPoolExecutor() as threads:
        tasks = [
            threads.submit(
                *(python, PROGRAM, "nothing", "--distributed=auto"),
                **{f"SLURM_{key}": value for key, value in own.items()},
            )
            for own in (job | {"PROCID": str(n), "LOCALID": str(n)} for n in range(2))
        ]
        first, second = (task.result() for task in tasks)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout.splitlines()[0] == "[[0, 2, 4, 6], [1, 3, 5]]"
    assert "[[0" not in second.stdout
