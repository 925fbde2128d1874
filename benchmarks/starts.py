"""The ways to start an evaluation that `startup.py` times, and what it prints of their seconds."""

import contextlib
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
from typing import Any

import jax
import numpy as np
import rich.box
import rich.table
from safetensors.numpy import save_file

from benchmarks.cases import Sizes
from benchmarks.inputs import make_inputs
from benchmarks.peer import Peer, requests_for, write_job
from tokmerge_jax import checkpoints, registry
from tokmerge_jax.config import Config
from tokmerge_jax.system import System
from tokmerge_jax.tasks.synthetic import random_weights
from tokmerge_jax.types import UserError

Seconds = dict[str, float]
"""Phases of a start -> their seconds; "total" is the wall time, "cpu" of all threads."""


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


def ways(
    config: Config, folder: pathlib.Path, peer: Peer | None, stack: contextlib.ExitStack
) -> dict[str, Callable[[], Seconds]]:
    """Makes the ways to start: "cold", "warm", and "original" if there is a peer.

    Args:
      config: what is evaluated; its batch is the first one.
      folder: an empty folder, for the job and the compiled programs.
      peer: the original, or None.
      stack: keeps the original's folder as long as it is open.
    """
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
    timed = {
        "cold": lambda: _cold(job),
        "warm": functools.partial(_ours, job, kept),
    }
    if peer:
        _requests(system)  # or it fails before anything is timed
        original = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_job(original, system, params, inputs)
        timed["original"] = functools.partial(_original, peer, system, str(original))
    return timed


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
        for request in _requests(system):
            ask(**request)
        total = time.perf_counter() - begun
    return {"imports, network, weights": loaded, "first batch": total - loaded, "total": total}


def _requests(system: System) -> list[dict[str, Any]]:
    """What the original is asked for: the texts, if there are any, and the videos, both "eager".

    Raises:
      UserError: if it does not do the same work.
    """
    clips = system.config.eval.batch_size
    texts = [requests_for("text", system)] if system.retrieval else []
    asked = [*texts, requests_for("encode", system, clips=clips)]
    if not all(asked):
        raise UserError(
            f"the original of {system.name!r} does not encode the same videos and texts; leave out"
            " --against"
        )
    return [next(iter(forms.values())) for forms in asked]
