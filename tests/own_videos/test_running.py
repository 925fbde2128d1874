"""Progress of an index that others can read, for as long as its run lives."""

import json
import os
import subprocess
import sys

import pytest

from tokmerge_jax.own_videos import running
from tokmerge_jax.own_videos.running import Running, read


def test_progress_is_written_and_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "_PAUSE", 0)
    clock = iter(range(100))
    monkeypatch.setattr(running.time, "monotonic", lambda: next(clock))
    with Running(tmp_path, 10, done=4) as bar:
        assert read(tmp_path) == {"done": 4, "total": 10, "seconds_left": None}
        bar.update(2)
        state = read(tmp_path)
        assert state is not None
        assert (state["done"], state["total"]) == (6, 10)
        written = json.loads((tmp_path / "progress.json").read_text())
        assert state["seconds_left"] == written["seconds_left"] > 0
    assert read(tmp_path) is None
    assert not [*tmp_path.iterdir()]


def test_progress_is_written_at_most_twice_a_second(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(running.runtime, "write_text", lambda _, text: written.append(text))
    with Running(tmp_path, 1000, done=0) as bar:
        for _ in range(1000):
            bar.update()
    assert len(written) <= 3


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"done": 1, "total": "x"}', "\xff", "[" * 100_000]
)
def test_another_file_is_no_progress(tmp_path, text):
    (tmp_path / "progress.json").write_text(text, "latin-1")
    assert read(tmp_path) is None


def test_a_run_that_was_killed_is_none(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )

    def written(process, host, age=0):
        state = {"done": 1, "total": 2, "seconds_left": 3.5, "process": process, "host": host}
        file = tmp_path / "progress.json"
        file.write_text(json.dumps(state))
        then = file.stat().st_mtime - age
        os.utime(file, (then, then))
        return read(tmp_path)

    here = running.socket.gethostname()
    assert written(os.getpid(), here, age=1000) == {"done": 1, "total": 2, "seconds_left": 3.5}
    assert written(int(ended.stdout), here) is None
    assert written(os.getpid(), "elsewhere", age=1000) is None
    assert written(os.getpid(), "elsewhere") is not None
