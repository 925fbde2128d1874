"""Measures the accelerator figures of `docs/performance.md`, in runs that can be resumed.

Examples:
  python -m benchmarks.accelerator --results results/h200 --minutes 9 \\
      --originals originals --against_python torch-env/bin/python
  python -m benchmarks.accelerator --results results/h200 --only goldens,kernels
  python -m benchmarks.accelerator --results results/try --small

A job is one run of `stages.py`, or the tests against the originals' numbers; it leaves one JSON
file in the folder of results. Compiling takes longer than timing, so `--together` jobs compile at
the same time. They are timed in order, each as soon as it is compiled; meanwhile the others pause.
A job whose file is complete is not run again; one that the time limit ends keeps the rounds that it
has finished, and starts anew in the next run.

`--originals` is a folder with checkouts named vid-TLDR, TempMe, TESTA and TDS-CLIP.
`--small` takes the demo's networks, to try the script on a CPU.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence

from benchmarks.performance import compared, table
from benchmarks.stages import READY
from tokmerge_jax import commands
from tokmerge_jax.types import UserError

GOLDENS = "goldens"
_TESTS = "kernels", "models", "merging", "layers/test_tome_vit.py"


@dataclasses.dataclass(frozen=True)
class Job:
    """A run of `stages.py`.

    Attributes:
      name: the name of its file of results.
      config: the configuration, without its folder.
      flags: what is timed.
      original: the original's checkout in `--originals`; "" = ours alone.
      rounds: number of rounds.
    """

    name: str
    config: str
    flags: tuple[str, ...]
    original: str = ""
    rounds: int = 7


_CLIPS = "--clips=1,8,32"
JOBS = (
    Job("umt_b16", "msrvtt_b16", ("--stages=encode", _CLIPS), "vid-TLDR", rounds=5),
    Job(
        "tempme_b32",
        "tempme_msrvtt_b32",
        ("--stages=encode,train", _CLIPS, "--train_clips=32"),
        "TempMe",
    ),
    Job("testa", "testa_didemo_f32", ("--stages=encode,text", "--clips=1,8"), "TESTA", rounds=5),
    Job("texts", "msrvtt_b16", ("--stages=text,rerank",), "vid-TLDR"),
    Job(
        "tds_clip",
        "tdsclip_ssv2_b16",
        ("--stages=encode,train", "--clips=1,8", "--train_clips=8"),
        "TDS-CLIP",
    ),
    Job("kernels", "msrvtt_b16", ("--stages=kernels", "--clips=1,32")),
    Job("kernels_frames", "tempme_msrvtt_b16", ("--stages=kernels", "--clips=32")),
    Job("umt_l16", "msrvtt_l16", ("--stages=encode", _CLIPS), "vid-TLDR", rounds=3),
    Job(
        "evaluation",
        "msrvtt_b16",
        ("--stages=evaluation", "--clips=32", "--gallery=256"),
        "vid-TLDR",
        rounds=1,
    ),
    Job(
        "tempme_b16",
        "tempme_msrvtt_b16",
        ("--stages=encode,train", _CLIPS, "--train_clips=32"),
        "TempMe",
    ),
    Job("decode", "msrvtt_b16", ("--stages=decode",), "vid-TLDR", rounds=3),
)
SMALL = (
    Job("demo", "demo", ("--stages=encode,kernels", "--clips=1,2"), "vid-TLDR"),
    Job("demo_tempme", "demo_tempme", ("--stages=encode,train", "--clips=2"), rounds=2),
)


def main() -> None:
    """Runs the jobs without a complete result, and prints the table; exit code 2 on bad input."""
    parser = commands.parser(__doc__)
    parser.add_argument("--results", type=pathlib.Path, required=True, help="a folder, made here")
    parser.add_argument("--minutes", type=float, default=9, help="when to stop all that runs")
    parser.add_argument(
        "--together", type=int, default=3, help="number of jobs that compile at once"
    )
    parser.add_argument("--originals", type=pathlib.Path, help="a folder with their checkouts")
    parser.add_argument("--against_python", default=sys.executable, help="a Python with PyTorch")
    parser.add_argument("--only", default="", help="names of jobs, with commas between")
    parser.add_argument("--small", action="store_true", help="try the script on a CPU")
    parser.add_argument("--profile", action="store_true", help="profile our cases as well")
    args = parser.parse_args()
    try:
        jobs = chosen(SMALL if args.small else JOBS, args.only)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    args.results.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * args.minutes
    left = [job for job in jobs if not complete(args.results, job)]
    for first in range(0, len(left), args.together):
        if time.monotonic() < end:
            _run(left[first : first + args.together], args, end)
    if GOLDENS in args.only.split(",") or not args.only:
        _check_goldens(args.results, end)
    _report(args.results, jobs)


def chosen(jobs: Sequence[Job], only: str) -> list[Job]:
    """The jobs that `--only` names, or all; raises UserError if there is no such job."""
    names = set(filter(None, only.split(",")))
    if unknown := names - {job.name for job in jobs} - {GOLDENS}:
        known = ", ".join([*(job.name for job in jobs), GOLDENS])
        raise UserError(f"--only={only}: unknown job {', '.join(sorted(unknown))}; known: {known}")
    return [job for job in jobs if not names or job.name in names]


def complete(results: pathlib.Path, job: Job) -> bool:
    """Whether a job's file is there, with all its rounds."""
    try:
        cases = json.loads((results / f"{job.name}.json").read_text("utf-8"))["cases"]
        return len(cases[0]["rounds"]) == job.rounds
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _command(job: Job, args: argparse.Namespace) -> list[str]:
    command = [sys.executable, "-m", "benchmarks.stages", f"--config={job.config}"]
    command += [*job.flags, f"--rounds={job.rounds}", f"--output={args.results / job.name}.json"]
    command += ["--wait", *(["--profile"] if args.profile else [])]
    if args.originals and job.original:
        command += [f"--against={args.originals / job.original}"]
        command += [f"--against_python={args.against_python}"]
    return command


def _run(jobs: Sequence[Job], args: argparse.Namespace, end: float) -> None:
    """Lets the jobs compile side by side and be timed one after the other, until `end`."""
    with contextlib.ExitStack() as stack:
        running = []
        for job in jobs:
            log = stack.enter_context((args.results / f"{job.name}.log").open("w"))
            process = subprocess.Popen(
                _command(job, args),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
            running.append((job, process))
        stack.callback(_signal, [process for _, process in running], signal.SIGKILL)  # on Ctrl-C
        timer = threading.Timer(max(end - time.monotonic(), 0), _kill, [running])
        stack.callback(timer.cancel)
        timer.start()
        for i, (job, process) in enumerate(running):
            if not _until_ready(process):
                process.wait()
                _say(f"{job.name}: exit code {process.returncode}; see {job.name}.log")
                continue
            with _paused([other for _, other in running[i + 1 :]]):
                output, _ = process.communicate("\n")
            (args.results / f"{job.name}.txt").write_text(output, "utf-8")
            _say(f"{job.name}: {'stopped' if process.returncode else 'timed'}")


@contextlib.contextmanager
def _paused(processes: Sequence[subprocess.Popen[str]]) -> Iterator[None]:
    """Pauses the processes and their children while the block runs."""
    _signal(processes, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(processes, signal.SIGCONT)


def _signal(processes: Sequence[subprocess.Popen[str]], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)


def _until_ready(process: subprocess.Popen[str]) -> bool:
    """Waits for the line `READY`; False if the process ends first."""
    assert process.stdout
    return any(line.strip() == READY for line in iter(process.stdout.readline, ""))


def _kill(running: Sequence[tuple[Job, subprocess.Popen[str]]]) -> None:
    _say("the time is up")
    _signal([process for _, process in running], signal.SIGKILL)  # the originals' with them


def _check_goldens(results: pathlib.Path, end: float) -> None:
    """Runs the tests against the originals' numbers, in float32, on this device."""
    if (results / f"{GOLDENS}.txt").exists() or time.monotonic() >= end:
        return
    command = [sys.executable, "-m", "pytest", *(f"tests/{name}" for name in _TESTS)]
    # "(not slow)" selects the same tests, but conftest.py then compiles fully, as for users.
    command += ["-m", "not (slow)", "-p", "no:cacheprovider", "-v", "--maxprocesses=8"]
    log = results / f"{GOLDENS}.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, start_new_session=True)
        try:
            process.wait(max(end - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            _say(f"{GOLDENS}: the time is up; see {log}")
            return
    last = (log.read_text("utf-8").splitlines() or ["pytest printed nothing"])[-1]
    if process.returncode in (0, 1):  # all tests have run
        (results / f"{GOLDENS}.txt").write_text(f"{last}\n", "utf-8")
    _say(f"{GOLDENS}: {last}")


def _report(results: pathlib.Path, jobs: Sequence[Job]) -> None:
    stages = []
    for job in jobs:
        with contextlib.suppress(UserError):  # nothing was timed beside an original
            stages += compared(str(results / f"{job.name}.json"))
    for line in table(stages):
        print(line)


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    main()
