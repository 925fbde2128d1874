"""Runs a command in several processes of this machine, to try what a cluster does.

Example:
  tokmerge launch --processes 2 eval --config demo

The processes find each other over loopback (`--distributed`). With `--devices N`, each has N
devices of the CPU. If one ends with an error, all end, and its code is the launcher's.
"""

import argparse
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from tokmerge_jax import commands

_PATIENCE = 10.0  # seconds for the others to end by themselves


def run() -> None:
    """Starts the processes, waits, and exits with their code."""
    sys.exit(_launch())


def _launch() -> int:
    """Starts the processes, waits, and returns the exit code."""
    parser = _parser()
    args = parser.parse_args()
    if args.processes < 1:
        parser.error(f"--processes {args.processes} must be at least 1")
    if args.devices < 0:
        parser.error(f"--devices {args.devices} must be 0 or more")
    ours = args.command in commands.names()
    program = ("-m", "tokmerge_jax", args.command) if ours else (args.command,)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    flags = os.environ.get("XLA_FLAGS", "")
    if args.devices:
        flags += f" --xla_force_host_platform_device_count={args.devices}"
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, *program, *args.arguments),
                f"--distributed=127.0.0.1:{port},{args.processes},{number}",
            ],
            env={**os.environ, "XLA_FLAGS": flags},
        )
        for number in range(args.processes)
    ]
    signal.signal(signal.SIGTERM, lambda *_: [process.terminate() for process in processes])
    try:
        return _wait(processes)
    except KeyboardInterrupt:  # the processes have had it too
        return _wait(processes)
    finally:
        for process in processes:
            process.kill()


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> int:
    """Waits until all have ended, or `_PATIENCE` after the first that failed; returns its code."""
    failed, until = 0, math.inf
    while time.monotonic() < until:
        codes = [process.poll() for process in processes]
        if not failed and any(codes):
            failed = next(filter(None, codes))
            until = time.monotonic() + _PATIENCE
            if failed < 0:
                print(
                    f"process {codes.index(failed)} was killed (signal {-failed})", file=sys.stderr
                )
        if None not in codes:
            break
        time.sleep(0.1)
    return abs(failed)


def _parser() -> argparse.ArgumentParser:
    parser = commands.parser(__doc__)
    parser.add_argument("--processes", type=int, required=True, help="number of processes")
    parser.add_argument("--devices", type=int, default=0, help="CPU devices of each process")
    parser.add_argument("command", help="a command of tokmerge, or the file of a script")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    return parser
