"""Progress where there is no terminal: plain lines, few, and one that says what the wait is for."""

import contextlib
import io
import os
import subprocess
import sys

import pytest

from tokmerge_jax import progress
from tokmerge_jax.progress import Progress, tracked


class Terminal(io.StringIO):
    """A text that takes itself for a terminal."""

    def isatty(self) -> bool:
        return True


def lines(capsys) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_no_terminal_gets_a_line_at_the_beginning_and_at_the_end(capsys):
    with Progress("encoding videos", 40, "video", done=10, compiles=True) as bar:
        for _ in range(30):
            bar.update()
    first, last = lines(capsys)
    assert first.startswith("encoding videos: 10 of 40 (25 %)")
    assert first.endswith("compiling for the first batch")
    assert last.startswith("encoding videos: 40 of 40 (100 %)")
    assert "compiling" not in last
    assert "video/s" in last


def test_lines_come_at_intervals(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_INTERVAL", 0.0)
    assert list(tracked("abc", "drawing clips", 3, "clip")) == ["a", "b", "c"]
    shown = [line.partition(" (")[0] for line in lines(capsys)]
    assert shown == [f"drawing clips: {n} of 3" for n in range(4)]


@pytest.mark.parametrize("done", [3, 0])
def test_work_that_is_done_already_compiles_nothing(capsys, done):
    with Progress("encoding videos", done, "video", done=done, compiles=True):
        pass
    (line,) = lines(capsys)
    assert line.startswith(f"encoding videos: {done} of {done}")
    assert "compiling" not in line


def test_a_terminal_gets_one_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("encoding videos", 2, "video", compiles=True) as bar:
        bar.update(2)
    shown = terminal.getvalue()
    assert shown.count("\n") == 1
    assert shown.endswith("\n")
    assert "compiling" in shown.split("\r")[1]
    assert "100%" in shown.split("\r")[-1]


def test_silence_is_only_inside(capsys):
    for silence, lines in ((progress.silent(), 0), (contextlib.nullcontext(), 2)):
        with silence, Progress("encoding videos", 2, "video", compiles=True) as bar:
            bar.update(2)
        assert capsys.readouterr().err.count("\n") == lines


def test_progress_can_be_switched_off():
    program = """
from tokmerge_jax.progress import Progress
with Progress("encoding videos", 2, "video", compiles=True) as bar:
    bar.update(2)
"""
    environment = {**os.environ, "TQDM_DISABLE": "1"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
