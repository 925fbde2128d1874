"""Runs cases in turns and makes the figures that `stages.py` prints and writes."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.cases import Case, Timed

Row = Mapping[str, Any]
"""The figures of a case, for its whole job; numbers are None where there is none.

  stage, way: what is timed, and how (the first way of a stage is what others are compared with).
  clips: number of clips; clips_per_second: how many are done in a second.
  tflops, gmac: 10^12 FLOP per second; 10^9 multiply-accumulates.
  seconds, fastest, slowest, rounds: the median, the extremes and the list of the rounds' seconds.
  timed_share: the size of a run relative to the whole job; 2 where a run does the job twice.
  compile_seconds: seconds of compilation.
  peak_bytes: the most memory held.
  share_of_ceiling, times_first, difference: ratios to the ceiling's TFLOP/s and to the first way's
    seconds; largest difference from the first way's output, relative to its largest value.
  kernels: with --profile, the seconds of ours by kernel.
"""


def report(cases: Sequence[Case], rounds: int) -> Iterator[list[Row]]:
    """Times all cases in turn, `rounds` times after a run to warm up; the first is the ceiling.

    Yields:
      After every round, figures of each case's whole job; None where there is none. `seconds` is
      the median of the rounds so far.
    """
    warm = [case.run() for case in cases]
    timed: list[list[Timed]] = [[] for _ in cases]
    for _ in range(rounds):
        for case, runs in zip(cases, timed, strict=True):
            runs.append(case.run())
        yield [_row(cases, warm, timed, i) for i in range(len(cases))]


def _row(
    cases: Sequence[Case], warm: Sequence[Timed], timed: Sequence[Sequence[Timed]], i: int
) -> Row:
    """The figures of a case; `cases[0]` is the ceiling, the first of its stage is compared with."""
    row, ceiling = (_figures(cases[j], warm[j], timed[j]) for j in (i, 0))
    first = next(j for j, other in enumerate(cases) if other.stage == cases[i].stage)
    speed, seconds = row["tflops"], _figures(cases[first], warm[first], timed[first])["seconds"]
    return {
        **row,
        "share_of_ceiling": None if speed is None else speed / ceiling["tflops"],
        "times_first": row["seconds"] / seconds,
        "difference": _difference(warm[first].output, warm[i].output),
    }


def _figures(case: Case, warm: Timed, timed: Sequence[Timed]) -> Row:
    """A case's own figures, of its whole job; a run may be a part of the job, or more than it."""
    times = [each.seconds for each in timed]
    median = statistics.median(times)
    compiling = max(warm.seconds - median, 0) if case.compiles else case.compile_seconds
    peaks = [each.peak_bytes for each in timed if each.peak_bytes is not None]
    return {
        "stage": case.stage,
        "way": case.way,
        "clips": case.clips,
        "clips_per_second": case.clips and case.clips / (case.runs * median),
        "tflops": None if case.macs is None else 2 * case.macs / median / 1e12,
        "gmac": None if case.macs is None else case.runs * case.macs / 1e9,
        "seconds": case.runs * median,
        "fastest": case.runs * min(times),
        "slowest": case.runs * max(times),
        "rounds": [case.runs * seconds for seconds in times],
        "timed_share": 1 / case.runs,
        "compile_seconds": compiling,
        "peak_bytes": max(peaks, default=case.peak_bytes),
    }


def _difference(want: np.ndarray, got: np.ndarray) -> float:
    """Largest difference between two results, relative to the largest value of the first.

    Equal results differ by 0, also where all values are 0.
    """
    count = min(want.size, got.size)
    a, b = want.ravel()[:count], got.ravel()[:count]
    return float(np.abs(a - b).max() / max(np.abs(a).max(), np.finfo(np.float32).tiny))
