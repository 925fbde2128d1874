"""Reads thousands of damaged files by the functions that users read theirs with.

Examples:
  python -m tests.fuzz
  python -m tests.fuzz --kinds pth,orbax --count 2000
  python -m tests.fuzz --kinds pth --first 123 --count 1      one case again, with its traceback

Each case is a good input that was changed by a fixed seed. It must be read, or refused in one short
sentence; every other end is a failure: another exception, a crash, 5 s or 1 GiB of memory more, a
file that is written elsewhere, code that is run. The inputs of failures are kept.
"""

import argparse
import os
import pathlib
import shutil
import sys
import tempfile
import time

from tests.fuzz import runner
from tests.fuzz.kinds import KINDS


def main() -> None:
    """Runs the cases, prints a table and the failures; exit code 1 if there are any."""
    args = _parser().parse_args()
    unknown = set(args.kinds) - KINDS.keys()
    if unknown:
        sys.exit(f"--kinds {unknown.pop()}: known are {', '.join(KINDS)}")
    numbers = range(args.first, args.first + args.count)
    home = pathlib.Path(tempfile.mkdtemp(prefix="tokmerge_fuzz_"))
    results, told = [], time.monotonic()
    for result in runner.run(
        [KINDS[k] for k in args.kinds], numbers, args.seed, args.processes, home
    ):
        results.append(result)
        if result.outcome.verdict == "failed":
            print(f"{result.kind} {result.number} failed: {result.outcome.fault}", flush=True)
        if time.monotonic() > told + 10:
            told = time.monotonic()
            print(f"{len(results)} cases, now {result.kind}", flush=True)
    print(runner.table(results))
    failed = sum(result.outcome.verdict == "failed" for result in results)
    if failed:
        print(f"{failed} failed; their inputs are in {home / 'failed'}")
        sys.exit(1)
    shutil.rmtree(home)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = lambda text: text.split(",")  # noqa: E731
    parser.add_argument("--kinds", type=kinds, default=list(KINDS), help=", ".join(KINDS))
    parser.add_argument("--count", type=int, default=500, help="cases of each kind")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0, help="another one changes all cases")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="that read")
    return parser


if __name__ == "__main__":
    main()
