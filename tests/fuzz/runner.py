"""Hands cases to processes, replaces those that die or hang, and counts what came of them."""

import dataclasses
import multiprocessing
import os
import pathlib
import re
import shutil
import signal
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from multiprocessing import connection

from tests.fuzz.case import Outcome, serve
from tests.fuzz.kind import Kind

_WAITING = 5  # times its limit that a case may take by the clock, where nothing else runs
_SHOWN = 5  # cases of a fault
_ENDING_S = 10  # that a process which waits is given to leave
_STARTING_S = 600  # of a process's imports and first compilations


@dataclasses.dataclass(frozen=True)
class Result:
    """A case and its outcome."""

    kind: str
    number: int
    outcome: Outcome


class _Worker:
    """A process, and the case that it is at."""

    def __init__(self, home: pathlib.Path, seed: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._home, self.task, self._deadline = home, None, 0.0
        shutil.rmtree(home, ignore_errors=True)
        self._process = context.Process(target=serve, args=(theirs, home, seed), daemon=True)
        self._process.start()
        theirs.close()

    def give(self, kind: Kind, good: pathlib.Path, number: int) -> None:
        self.task, self._deadline = (kind, number), time.monotonic() + _STARTING_S
        self.pipe.send((kind, good, number))

    def outcome(self) -> Outcome | None:
        """Returns the case's outcome if its process has ended, in any way."""
        assert self.task is not None
        kind, _ = self.task
        try:
            while self.pipe.poll():
                message = self.pipe.recv()
                if isinstance(message, Outcome):
                    return message
                busy = max(os.getloadavg()[0] / (os.cpu_count() or 1), 1.0)
                self._deadline = time.monotonic() + _WAITING * busy * kind.limit_s
        except (EOFError, OSError):
            self._process.join()
            return Outcome("failed", f"crashed: {_cause(self._process.exitcode)}")
        if time.monotonic() > self._deadline:
            return Outcome("failed", "hangs")
        return None

    @property
    def alive(self) -> bool:
        """Whether it can be given another case."""
        return self._process.is_alive() and time.monotonic() <= self._deadline

    def case(self) -> pathlib.Path:
        """The folder of its case."""
        return self._home / "in" / "case"

    def end(self) -> None:
        """Ends the process, which may be in the middle of something."""
        if self.task is None and self.alive:
            self.pipe.send(None)
            self._process.join(_ENDING_S)
        self._process.kill()
        self._process.join()


def run(
    kinds: Sequence[Kind],
    numbers: range,
    seed: int,
    processes: int,
    home: pathlib.Path,
) -> Iterator[Result]:
    """Reads the cases `numbers` of each kind, or all inputs of a kind that lists them.

    Inputs of cases that failed are kept as `home/failed/KIND-NUMBER`.

    Args:
      kinds: what is read.
      numbers: of the cases.
      seed: of the damage.
      processes: how many work.
      home: a folder that is empty.

    Yields:
      What came of each case, as it comes.
    """
    for kind in kinds:
        kind.make(home / "good" / kind.name)
    cases = ((k, n) for k in kinds for n in (range(k.inputs) if k.inputs else numbers))
    workers = [_Worker(home / f"worker{i}", seed) for i in range(processes)]
    try:
        yield from _work(cases, workers, home, seed)
    finally:
        for worker in workers:
            worker.end()
            shutil.rmtree(worker.case().parents[1], ignore_errors=True)


def _work(
    cases: Iterator[tuple[Kind, int]], workers: list[_Worker], home: pathlib.Path, seed: int
) -> Iterator[Result]:
    while True:
        for worker in workers:
            if worker.task is None and (case := next(cases, None)):
                worker.give(case[0], home / "good" / case[0].name, case[1])
        busy = [worker for worker in workers if worker.task]
        if not busy:
            return
        connection.wait([worker.pipe for worker in busy], timeout=0.2)
        for place, worker in enumerate(workers):
            if worker.task and (outcome := worker.outcome()):
                kind, number = worker.task
                if outcome.verdict == "failed":
                    kept = home / "failed" / f"{kind.name}-{number}"
                    shutil.copytree(worker.case(), kept, dirs_exist_ok=True)
                worker.task = None
                if not worker.alive:
                    worker.end()
                    workers[place] = _Worker(home / f"worker{place}", seed)
                yield Result(kind.name, number, outcome)


def _cause(code: int | None) -> str:
    """Returns the cause of a process's end."""
    if code is None or code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    return f"{name}, more time than it may take" if name == "SIGXCPU" else name


def table(results: Sequence[Result]) -> str:
    """A row for each kind, then a line for each fault, with the numbers of the first such cases."""
    of_kind, faults = defaultdict[str, list[Outcome]](list), defaultdict[str, list[int]](list)
    for result in results:
        of_kind[result.kind].append(result.outcome)
        if result.outcome.verdict == "failed":
            faults[f"{result.kind}: {_fault(result.outcome)}"].append(result.number)
    rows: list[tuple[str, ...]] = [
        ("kind", "cases", "ok", "refused", "failed", "slowest s", "largest MiB")
    ]
    for kind, outcomes in of_kind.items():
        verdicts = [outcome.verdict for outcome in outcomes]
        counts = [len(verdicts), *(verdicts.count(v) for v in ("ok", "refused", "failed"))]
        slowest, largest = max(o.seconds for o in outcomes), max(o.mib for o in outcomes)
        rows.append((kind, *map(str, counts), f"{slowest:.2f}", f"{largest:.0f}"))
    lines = ["".join(f"{cell:>13}" for cell in row) for row in rows]
    for fault, numbers in faults.items():
        shown = ", ".join(map(str, numbers[:_SHOWN])) + ", ..." * (len(numbers) > _SHOWN)
        lines.append(f"{len(numbers)} x {fault} (cases {shown})")
    return "\n".join(lines)


def _fault(outcome: Outcome) -> str:
    """The last line, without what differs from case to case."""
    last = outcome.fault.strip().splitlines()[-1]
    return re.sub(r"/\S*/|\b0x\w+|\d+", "#", last)[:200]
