"""Kills the scripts at moments of their progress, and compares what they end with.

python -m tests.fuzz.kill [--jobs retrieval,training] [--moments 20]

Each job runs once in one go. Then it runs again, and is killed (SIGKILL) each time that its files
show as much more progress, `--moments` times; the same command goes on every time. It must end with
the same numbers, bit for bit, and do nothing again but what was under way when it was killed.
"""

import argparse
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

from tests.fuzz.jobs import JOBS, Job, make

ROOT = pathlib.Path(__file__).parents[2]
_DEADLINE_S = 900  # of a sitting
_LATER_S = 0.1  # at most, from progress to the kill, which is not always just after a write


def main() -> None:
    """Runs the jobs, prints a line for each kill and each job; exit code 1 if one fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = lambda text: text.split(",")  # noqa: E731
    parser.add_argument("--jobs", type=names, default=list(JOBS), help=", ".join(JOBS))
    parser.add_argument("--moments", type=int, default=20, help="kills of each job")
    args = parser.parse_args()
    home = pathlib.Path(tempfile.mkdtemp(prefix="tokmerge_kill_"))
    make(home / "data")
    faults = [fault for name in args.jobs for fault in check(name, home, args.moments)]
    print("\n".join(faults) or "All ended as in one go, and did nothing again.")
    if faults:
        sys.exit(f"The folders are in {home}")
    shutil.rmtree(home)


def check(name: str, home: pathlib.Path, moments: int) -> list[str]:
    """Returns the differences from an uninterrupted run and the repeated work; prints each kill."""
    job, whole, killed = JOBS[name], home / name / "whole", home / name / "killed"
    _Sitting(job, home, whole).finish()
    total, faults, done = len(job.done(whole, _notes(whole))), [], frozenset()
    later = np.random.default_rng(0).uniform(0, _LATER_S, moments)
    for moment in range(1, moments + 1):
        sitting = _Sitting(job, home, killed)
        wanted = max(moment * total // (moments + 1), len(done) + 1)
        if not sitting.kill(wanted, later[moment - 1]):
            faults.append(f"{name}: ended before kill {moment}")
            break
        before, done = done, job.done(killed, _notes(killed))
        again = len(before - done)
        print(f"{name}, kill {moment}: {len(done)} of {total} done, {again} again", flush=True)
        if again:
            faults.append(f"{name}, before kill {moment}: did {again} again")
    _Sitting(job, home, killed).finish()
    if again := len(done - job.done(killed, _notes(killed))):
        faults.append(f"{name}, after the last kill: did {again} again")
    if job.outcome(killed) != job.outcome(whole):
        faults.append(f"{name}: ended with other numbers than in one go")
    return faults


def _notes(output: pathlib.Path) -> pathlib.Path:
    return output.with_name(f"{output.name}.notes")


class _Sitting:
    """A process of a job."""

    def __init__(self, job: Job, home: pathlib.Path, output: pathlib.Path) -> None:
        output.mkdir(parents=True, exist_ok=True)
        self._job, self._output = job, output
        self._log = output.with_name(f"{output.name}.log")
        settings = {
            "PYTHONPATH": str(ROOT),
            "JAX_COMPILATION_CACHE_DIR": str(home / "programs"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        command = [sys.executable, str(pathlib.Path(__file__).with_name("observed.py"))]
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [*command, str(_notes(output)), *map(str, job.command(home / "data", output))],
                cwd=ROOT,
                env={**os.environ, **settings},
                stdout=log,
                stderr=log,
            )

    def finish(self) -> None:
        """Waits for its end, which must be a good one."""
        if self._process.wait(_DEADLINE_S):
            raise RuntimeError(f"a job failed:\n{self._log.read_text()[-2000:]}")

    def kill(self, wanted: int, later: float) -> bool:
        """Kills it when so much is done, and a moment later; false if it ended before."""
        deadline = time.monotonic() + _DEADLINE_S
        while len(self._job.done(self._output, _notes(self._output))) < wanted:
            if self._process.poll() is not None or time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        time.sleep(later)
        self._process.kill()
        return self._process.wait() == -signal.SIGKILL


if __name__ == "__main__":
    main()
