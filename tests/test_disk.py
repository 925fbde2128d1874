"""What a machine refuses is one sentence; of two processes on a folder the second is refused."""

import errno
import fcntl
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

import chex
import numpy as np
import pytest
from safetensors.numpy import load_file

from tokmerge_jax import disk, runtime
from tokmerge_jax.types import UserError


def sentence(error, place="out"):
    """What becomes of an exception."""
    with pytest.raises(UserError) as caught, disk.explained(place):
        raise error
    return str(caught.value)


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "make room"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EROFS, "can be written"),
        (errno.EACCES, "permissions"),
        (errno.EIO, "disk"),
    ],
)
def test_a_refusal_names_the_file_the_reason_and_the_cure(number, cure):
    reason = os.strerror(number)
    said = sentence(OSError(number, reason))
    assert said.startswith(f"out: {reason}; ")
    assert cure in said
    assert sentence(OSError(number, reason, "a/b.json")).startswith(f"a/b.json: {reason}; ")


@pytest.mark.parametrize(
    "number", [errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EEXIST]
)
def test_what_is_wrong_with_a_path_names_it(number):
    reason = os.strerror(number)
    assert sentence(OSError(number, reason, "a/b")) == f"a/b: {reason}; name another place"


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOENT, errno.EINVAL, errno.EBADF])
def test_a_programs_own_mistakes_are_left_alone(number):
    """Other numbers, and paths where there is none."""
    with pytest.raises(OSError, match=os.strerror(number)) as caught, disk.explained("out"):
        raise OSError(number, os.strerror(number))
    assert not isinstance(caught.value, UserError)


def test_what_was_finished_is_kept_where_a_folder_is_held(tmp_path):
    said = (
        f"^{re.escape(str(tmp_path))}/a: No space left on device; make room, or [a-z ]*; what was"
    )
    with (
        pytest.raises(UserError, match=f"{said} finished is kept$"),
        disk.held(tmp_path),
        disk.held(tmp_path / "inner"),
        disk.explained(tmp_path / "a"),
    ):
        raise OSError(errno.ENOSPC, "full")
    assert "kept" not in sentence(OSError(errno.ENOSPC, "full"))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EMFILE, "", "some.mp4"), "Too many open files; allow more open files"),
        (MemoryError("Unable to allocate 1 TiB"), "Cannot allocate memory; allow more memory"),
        (
            RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"),
            "Cannot allocate memory; allow more memory",
        ),
        (
            RuntimeError("can't start new thread"),
            "Resource temporarily unavailable; allow more processes (ulimit -u) or memory",
        ),
    ],
)
def test_what_the_process_has_too_little_of_is_no_files_fault(error, reason):
    assert sentence(error).startswith(reason)


def test_a_refusal_in_a_librarys_words():
    error = ValueError("Error writing 'x': [OS error 28: ENOSPC No space left on device]")
    assert sentence(error).startswith("out: No space left on device; make room")


@pytest.mark.parametrize("error", [ValueError("shapes differ"), KeyError("a"), UserError("bad")])
def test_other_errors_are_left_alone(error):
    with pytest.raises(type(error)) as caught, disk.explained("out"):
        raise error
    assert caught.value is error


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/facts\.json.*: Not a directory; "):
        runtime.write_text(tmp_path / "file" / "facts.json", "")


_HOLD = """
import pathlib, sys
from tokmerge_jax import disk
with disk.held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the folder."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_process_is_refused_and_names_the_first(tmp_path, holder):
    with pytest.raises(UserError) as caught, disk.held(tmp_path):
        pass
    who = re.escape(f"process {holder.pid} on {socket.gethostname()}")
    since = r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d"
    assert re.match(
        rf"{re.escape(str(tmp_path))} is being written by {who} \({since}\)", str(caught.value)
    )
    holder.communicate("")
    with disk.held(tmp_path):
        pass


def test_the_lock_of_a_killed_process_keeps_nobody_out(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with disk.held(tmp_path):
        assert f"process {os.getpid()} on" in (tmp_path / "lock").read_text()


def test_workers_do_not_inherit_the_lock(tmp_path):
    with disk.held(tmp_path):
        child = subprocess.Popen(["sleep", "30"], close_fds=False)
    with disk.held(tmp_path):
        child.kill()
    child.wait()


def test_other_names_and_folders_are_free(tmp_path, holder):
    with disk.held(tmp_path, "other.lock"), disk.held(tmp_path / "below"):
        pass


def test_where_there_are_no_locks_nobody_is_kept_out(tmp_path, monkeypatch):
    def none(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with disk.held(tmp_path), disk.held(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match="below: Not a directory; "),
        disk.held(pathlib.Path(tmp_path, "file", "below")),
    ):
        pass


def test_room_is_asked_for_before(tmp_path):
    disk.check_room(tmp_path, 1)
    with pytest.raises(UserError, match=r"No space left on device; make room"):
        disk.check_room(tmp_path, 2**62)


def test_others_may_read_a_file_of_tensors_as_any_other(tmp_path):
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensors = {"a/b": matrix, "transposed": matrix.T, "number": np.float32(7).reshape(())}
    disk.write_tensors(tmp_path / "w.safetensors", tensors, {"format": "pt"})
    (tmp_path / "plain").touch()
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1
    chex.assert_trees_all_equal(load_file(tmp_path / "w.safetensors"), tensors)
