"""Exceptions as faults of single videos, and workers that die: what is said, and what goes on."""

import os
import signal
import time

import numpy as np
import pytest
from av.error import InvalidDataError

from tokmerge_jax.data import clips
from tokmerge_jax.data.clips import in_order
from tokmerge_jax.data.faults import Fault, attempt
from tokmerge_jax.types import UserError

KILLED = "Worker process was terminated unexpectedly with exit code -9. Search the logs."


def named(item):
    return f"video {item}"


def raiser(error):
    def make(item):
        raise error

    return make


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("shapes (2,) and\n(3,)"), "(ValueError: shapes (2,) and (3,))"),
        (MemoryError(), "(MemoryError)"),
        (InvalidDataError(1, "bad"), "(InvalidDataError: [Errno 1] bad)"),
        (np.exceptions.AxisError(3, 2), "(AxisError: axis 3 is out of bounds"),
        (ZeroDivisionError("x" * 5000), "(ZeroDivisionError: xxx"),
        (RecursionError("deep"), "(RecursionError: deep)"),
    ],
)
def test_every_exception_is_a_fault_that_names_video_and_kind(error, said):
    fault = attempt(raiser(error), named, 7)
    assert isinstance(fault, Fault)
    assert fault.text.startswith(f"video 7: cannot be decoded {said}")
    assert fault.text.endswith("; replace the file or leave it out")
    assert "\n" not in fault.text
    assert len(fault.text) < 320


def test_what_names_the_video_already_is_left_as_it_is():
    assert attempt(raiser(UserError("a.mp4: gone")), named, 7) == Fault("a.mp4: gone")
    assert attempt(lambda item: item + 1, named, 7) == 8


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_a_program_is_no_fault(error):
    with pytest.raises(error):
        attempt(raiser(error()), named, 7)


def tenth(item):
    return 10 // item


def test_faults_stand_in_the_places_of_results():
    made = list(in_order(tenth, [5, 0, 2], 0, named))
    assert (made[0], made[2]) == (2, 5)
    assert made[1].text.startswith("video 0: cannot be decoded (ZeroDivisionError: ")
    assert list(in_order(tenth, range(1, 1), 2, named)) == []


def dying(made_alone):
    """Workers that die at item 0, and what a process gives that makes nothing else."""

    def made(make, items, workers, ahead):
        if workers == 1:
            yield made_alone()
            return
        for item in items:
            if item == 0:
                raise RuntimeError(KILLED)
            yield make(item)

    return made


def test_others_go_on_where_a_worker_was_killed(monkeypatch, capsys):
    monkeypatch.setattr(clips, "_made", dying(lambda: "made"))
    assert list(in_order(tenth, [5, 0, 2, 0, 1], 3, named)) == [2, "made", 5, "made", 10]
    told = capsys.readouterr().err.split("\n")
    assert told[1].startswith(
        "a decoding worker died (Killed) at video 0 or soon after; others go on"
    )
    assert "fewer workers than 3 (config.data.workers, --workers)" in told[1]
    assert len(told) == 5  # a line for each, and those between


def test_what_kills_each_process_is_a_fault(monkeypatch):
    monkeypatch.setattr(clips, "_made", dying(lambda: raiser(RuntimeError(KILLED))(0)))
    five, fault, two = in_order(tenth, [5, 0, 2], 2, named)
    assert (five, two) == (2, 5)
    assert isinstance(fault, Fault)
    assert fault.text.startswith("video 0: decoding it ends the process")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Worker process was terminated unexpectedly with exit code 1. Search"),
        OSError(24, "Too many open files"),
        MemoryError(),
    ],
)
def test_workers_that_cannot_work_end_the_run(monkeypatch, error):
    def made(*_):
        yield 1
        raise error

    monkeypatch.setattr(clips, "_made", made)
    with pytest.raises(UserError, match=r"decoding workers cannot work .*or none \(0\)"):
        list(in_order(tenth, [5, 0, 2], 1, named))


def deadly(item):
    """Dies at item 2, at 4 the first time that it is asked for; raises at 3."""
    number, folder = item
    time.sleep(0.3)  # what was made before has arrived
    if number == 2:
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == 4 and not (folder / "killed").exists():
        (folder / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return np.full(1000, 6 // (number - 3))


@pytest.mark.slow
def test_processes_that_really_die(tmp_path, capfd):
    items = [(i, tmp_path) for i in range(6)]
    made = dict(enumerate(in_order(deadly, items, 2, lambda item: f"no {item[0]}")))
    faults = {i: result.text for i, result in made.items() if isinstance(result, Fault)}
    assert list(faults) == [2, 3]
    assert faults[2].startswith("no 2: decoding it ends the process")
    assert faults[3].startswith("no 3: cannot be decoded (ZeroDivisionError: ")
    numbers = {i: int(np.asarray(made[i])[0]) for i in (0, 1, 4, 5)}
    assert numbers == {0: -2, 1: -3, 4: 6, 5: 3}
    told = capfd.readouterr().err
    assert "died (Segmentation fault) at no 2" in told
    assert "died (Killed) at no 4" in told
