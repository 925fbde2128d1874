"""Exceptions as faults of single videos, and workers that die: what is said, and what goes on."""

import errno
import os
import signal
import subprocess
import sys
import time

import av.error
import numpy as np
import pytest
from av.error import InvalidDataError
from clips import draw, write

from tokmerge_jax import disk
from tokmerge_jax.data.video import decode, workers
from tokmerge_jax.data.video.clips import Decoder
from tokmerge_jax.data.video.workers import Fault, attempt, in_order
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


CURES = "; replace the file or leave it out, or use fewer workers (config.data.workers)"


@pytest.mark.parametrize(
    ("error", "said"),
    [(MemoryError(), "(MemoryError)"), (av.error.MemoryError(12, "no memory"), "(no memory)")],
)
def test_where_memory_is_short_fewer_workers_help_too(error, said, tmp_path, monkeypatch):
    (tmp_path / "a.mp4").touch()
    monkeypatch.setattr(decode, "Video", lambda *_: raiser(error)(0))
    fault = attempt(Decoder(str(tmp_path), 2, 0), str, "a.mp4")
    assert isinstance(fault, Fault)
    assert fault.text.endswith(f"cannot be decoded {said}{CURES}")


_NO_MORE_FILES = """
import resource, sys
from tokmerge_jax.data import loader
from tokmerge_jax.data.video.clips import Decoder
from tokmerge_jax.types import UserError
def full(frames):  # after the first video
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    return frames
paths, refused = ("0.mp4", "0.mp4"), {}
source = loader.Source(None, (), paths, Decoder(sys.argv[1], 2, 0), 0)
try:
    for row, _ in source.clips(full, range(2), refused.__setitem__):
        print(row, flush=True)
except UserError as error:
    print(error, refused)
"""


def test_no_more_open_files_are_no_fault_of_a_video(tmp_path):
    """The callback that leaves broken videos out is not called."""
    write(tmp_path / "0.mp4", draw(4, 16, 16))
    done = subprocess.run(
        [sys.executable, "-c", _NO_MORE_FILES, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    said = "Too many open files; allow more open files (ulimit -n) {}"
    assert done.stdout.splitlines() == ["0", said]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_no_more_open_files_end_the_job(workers):
    """Also in a worker, and behind a library's or our own words."""

    def no_more_files(item):  # inside, so that a worker needs no import of this module
        if item == 2:
            raise OSError(errno.EMFILE, "Too many open files", "b.mp4")
        return item

    made = in_order(no_more_files, [1, 2, 3], workers, lambda item: f"video {item}")
    assert next(made) == 1
    with pytest.raises(disk.RefusedError, match=r"^Too many open files; allow more open files"):
        next(made)

    def inside(item):
        try:
            no_more_files(item)
        except OSError as error:
            raise UserError("b.mp4: cannot be decoded") from error

    with pytest.raises(disk.RefusedError, match=r"^Too many open files"):
        attempt(lambda item: attempt(inside, named, item), named, 2)


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
    monkeypatch.setattr(workers, "_made", dying(lambda: "made"))
    assert list(in_order(tenth, [5, 0, 2, 0, 1], 3, named)) == [2, "made", 5, "made", 10]
    told = capsys.readouterr().err.split("\n")
    assert told[1].startswith(
        "a decoding worker died (Killed) at video 0 or soon after; the others continue"
    )
    assert "fewer workers than 3 (config.data.workers, or workers of a preparation)" in told[1]
    assert len(told) == 5  # a line for each, and those between


def test_what_kills_each_process_is_a_fault(monkeypatch):
    monkeypatch.setattr(workers, "_made", dying(lambda: raiser(RuntimeError(KILLED))(0)))
    five, fault, two = in_order(tenth, [5, 0, 2], 2, named)
    assert (five, two) == (2, 5)
    assert isinstance(fault, Fault)
    assert fault.text.startswith("video 0: decoding it kills the process")


@pytest.mark.parametrize(
    "error", [OSError(24, "Too many open files"), MemoryError(), RuntimeError("exit code 1")]
)
def test_what_fails_at_a_lone_worker_without_a_signal_is_no_fault(monkeypatch, error):
    monkeypatch.setattr(workers, "_made", dying(lambda: raiser(error)(0)))
    with pytest.raises(UserError, match=r"decoding workers cannot run .*or none \(0\)"):
        list(in_order(tenth, [5, 0, 2], 2, named))


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

    monkeypatch.setattr(workers, "_made", made)
    with pytest.raises(UserError, match=r"decoding workers cannot run .*or none \(0\)"):
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
    assert faults[2].startswith("no 2: decoding it kills the process")
    assert faults[3].startswith("no 3: cannot be decoded (ZeroDivisionError: ")
    numbers = {i: int(np.asarray(made[i])[0]) for i in (0, 1, 4, 5)}
    assert numbers == {0: -2, 1: -3, 4: 6, 5: 3}
    told = capfd.readouterr().err
    assert "died (Segmentation fault) at no 2" in told
    assert "died (Killed) at no 4" in told
