"""The jobs of benchmarks/accelerator.py: which are run, and resuming after a stop."""

import json
import subprocess
import sys

import pytest
import script

from benchmarks import accelerator
from tokmerge_jax.types import UserError


def test_jobs_are_chosen_by_name():
    names = [job.name for job in accelerator.chosen(accelerator.JOBS, "kernels,goldens,umt_b16")]
    assert names == ["umt_b16", "kernels"]
    assert accelerator.chosen(accelerator.JOBS, "") == list(accelerator.JOBS)
    with pytest.raises(UserError, match=r"--only=kernel: unknown job kernel; known: umt_b16, "):
        accelerator.chosen(accelerator.JOBS, "kernel")


@pytest.mark.parametrize(
    ("content", "complete"),
    [
        ('{"cases": [{"rounds": [1.0, 2.0]}]}', True),
        ('{"cases": [{"rounds": [1.0]}]}', False),
        ('{"cases": [', False),
        ("{}", False),
        ("null", False),
        ('{"cases": []}', False),
        (None, False),
    ],
)
def test_a_job_is_complete_with_all_its_rounds(content, complete, tmp_path):
    if content is not None:
        (tmp_path / "b16.json").write_text(content)
    assert accelerator.complete(tmp_path, accelerator.Job("b16", "demo", (), rounds=2)) == complete


def test_nothing_starts_when_the_time_is_up(tmp_path, monkeypatch, capsys):
    arguments = ["--minutes=0", "--only=goldens", f"--results={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["accelerator", *arguments])
    accelerator.main()
    assert not list(tmp_path.iterdir())
    assert "goldens" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_job_is_timed_once_and_says_where_its_time_went(tmp_path):
    command = [sys.executable, "-m", "benchmarks.accelerator", "--small", "--profile"]
    command += ["--only=demo_tempme", f"--results={tmp_path}"]

    def run() -> str:
        return subprocess.run(
            command, cwd=script.ROOT, capture_output=True, text=True, check=True
        ).stdout

    assert "demo_tempme: timed" in run()
    cases = json.loads((tmp_path / "demo_tempme.json").read_text())["cases"]
    assert [len(case["rounds"]) for case in cases] == [2] * 5
    encode = next(case for case in cases if case["stage"].startswith("encode"))
    assert sum(kernel["count"] for kernel in encode["kernels"]) > 1
    assert "demo_tempme" not in run()
