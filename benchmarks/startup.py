"""Times the start of an evaluation: seconds from starting a process until its first batch is done.

Examples:
  python -m benchmarks.startup --config msrvtt_b16
  python -m benchmarks.startup --config tempme_msrvtt_b32 --rounds 3 --output startup.json
  python -m benchmarks.startup --config msrvtt_b16 --against vid-TLDR \\
      --against_python torch-env/bin/python

Each measurement is a fresh process (`first_batch.py`) that does what `tokmerge eval` does until one
batch of random videos and texts is encoded and written; it decodes and ranks nothing, and takes one
view of a video. "Cold" has no compiled programs on disk, "warm" has those of an earlier run. The
original, if given, loads our weights and encodes a batch of this size in its own form ("eager").
Rounds take turns; medians, the fastest and the slowest are printed. Without config.checkpoint,
random weights are written to a file with the names of the original's.

Tracing, lowering and compiling happen beside the work of other phases: only the phases from
"imports" to "first batch" add up to the total.
"""

import contextlib
import datetime
import functools
import json
import os
import pathlib
import pickle
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
import rich.box
import rich.console
import rich.table
from absl import flags
from safetensors.numpy import save_file

from benchmarks.cases import Sizes
from benchmarks.inputs import make_inputs
from benchmarks.peer import Peer, requests_for, write_job
from tokmerge_jax import checkpoints, command_line, registry, runtime
from tokmerge_jax.config import Config
from tokmerge_jax.config.common import ActionData
from tokmerge_jax.evaluation.report import settings
from tokmerge_jax.system import System
from tokmerge_jax.tasks.synthetic import machine, random_weights
from tokmerge_jax.types import UserError

_ROUNDS = flags.DEFINE_integer("rounds", 5, "fresh processes of each way", lower_bound=1)
_CLIPS = flags.DEFINE_integer("clips", 1, "videos of the first batch", lower_bound=1)
_AGAINST = flags.DEFINE_string("against", "", "a checkout of the original, to time it as well")
_PYTHON = flags.DEFINE_string("against_python", "", "its Python: torch and what it needs")
_OUTPUT = flags.DEFINE_string("output", "", "a .json file for the figures")

Seconds = dict[str, float]
"""Phases of a start -> their seconds; "total" is the wall time, "cpu" of all threads."""


def main(config: Config) -> None:
    """Times the start in each way, prints a table, and writes the figures."""
    peer = Peer(_AGAINST.value, _PYTHON.value) if _AGAINST.value else None
    if peer:
        peer.check(config.system)
    views = {"data.clips": 1, "data.crops": 1} if isinstance(config.data, ActionData) else {}
    config = config.override({"eval.batch_size": _CLIPS.value, **views})
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        ways = _ways(config, pathlib.Path(name), peer, stack)
        timed = in_turns(ways, _ROUNDS.value)
    result = {
        "name": command_line.config_name(),
        "machine": machine(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "config": settings(config),
        "rounds": timed,
        "figures": {way: figures(rounds) for way, rounds in timed.items()},
    }
    if _OUTPUT.value:
        runtime.write_text(pathlib.Path(_OUTPUT.value), json.dumps(result, indent=2, default=str))
    rich.console.Console(width=150).print(table(result["figures"], result["name"]))


def in_turns(ways: Mapping[str, Callable[[], Seconds]], rounds: int) -> dict[str, list[Seconds]]:
    """Runs every way once a round."""
    timed: dict[str, list[Seconds]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, run in ways.items():
            timed[way].append(run())
    return timed


def figures(rounds: Sequence[Seconds]) -> dict[str, tuple[float, float, float]]:
    """Phase -> median, fastest and slowest."""
    phases = {phase: [each[phase] for each in rounds] for phase in rounds[0]}
    return {name: (statistics.median(x), min(x), max(x)) for name, x in phases.items()}


def table(
    figures: Mapping[str, Mapping[str, tuple[float, float, float]]], title: str
) -> rich.table.Table:
    """A row per phase and a column per way."""
    view = rich.table.Table(title=f"{title}, seconds", box=rich.box.SIMPLE_HEAD)
    view.add_column("phase")
    for way in figures:
        view.add_column(way, justify="right")
    for phase in dict.fromkeys(phase for each in figures.values() for phase in each):
        view.add_row(phase, *(_cell(each.get(phase)) for each in figures.values()))
    return view


def _cell(figure: tuple[float, float, float] | None) -> str:
    return "-" if figure is None else "{:.2f} ({:.2f}-{:.2f})".format(*figure)


def _ways(
    config: Config, folder: pathlib.Path, peer: Peer | None, stack: contextlib.ExitStack
) -> dict[str, Callable[[], Seconds]]:
    """The ways to start; the job of each is written to the folder."""
    system = registry.build(config)
    params = random_weights(system)
    count = config.eval.batch_size
    inputs = make_inputs(system, ["encode"], Sizes((count,), gallery=count))
    if not config.checkpoint:
        weights = folder / "weights.safetensors"
        host = jax.tree.map(np.asarray, params)
        save_file(checkpoints.to_torch(system, host), weights)
        config = config.override({"checkpoint": str(weights)})
    job = folder / "job.pickle"
    job.write_bytes(pickle.dumps(config))
    kept = folder / "programs"
    _ours(job, kept)  # fills the cache
    ways = {
        "cold": lambda: _cold(job),
        "warm": functools.partial(_ours, job, kept),
    }
    if peer:
        original = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_job(original, system, params, inputs)
        ways["original"] = functools.partial(_original, peer, system, str(original))
    return ways


def _cold(job: pathlib.Path) -> Seconds:
    with tempfile.TemporaryDirectory() as programs:
        return _ours(job, pathlib.Path(programs))


def _ours(job: pathlib.Path, programs: pathlib.Path) -> Seconds:
    """The seconds of a fresh process of ours, with these compiled programs."""
    command = [sys.executable, "-m", "benchmarks.first_batch", str(job), str(time.time())]
    path = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(programs)}
    process = subprocess.run(command, capture_output=True, text=True, env=path, check=False)
    if process.returncode:
        raise UserError(f"{shlex.join(command)} failed: {process.stderr[-2000:]}")
    return json.loads(process.stdout.splitlines()[-1])


def _original(peer: Peer, system: System, folder: str) -> Seconds:
    """The seconds of a fresh process of the original."""
    begun = time.perf_counter()
    with peer.started(folder) as ask:
        loaded = time.perf_counter() - begun
        if system.retrieval:
            ask(**next(iter(requests_for("text", system).values())))
        clips = system.config.eval.batch_size
        ask(**next(iter(requests_for("encode", system, clips=clips).values())))
        total = time.perf_counter() - begun
    return {"imports, network, weights": loaded, "first batch": total - loaded, "total": total}


if __name__ == "__main__":
    command_line.run(main)
