"""Times the encoding of clips with several merging schedules on one device.

Every round runs each schedule once, so that a busy minute of the machine slows all alike. Rounds
are kept as they come, for a later call to continue.
"""

import datetime
import json
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import jax
import numpy as np
from jaxtyping import PyTree

from tokmerge_jax import registry, runtime
from tokmerge_jax.config import Config
from tokmerge_jax.evaluation.report import settings
from tokmerge_jax.merging import schedule
from tokmerge_jax.progress import Progress, tracked
from tokmerge_jax.system import System
from tokmerge_jax.tasks import rounds as kept_rounds
from tokmerge_jax.tasks.synthetic import (
    changed,
    clip_macs,
    encoder,
    fitting,
    frames_shape,
    machine,
    random_weights,
    unmerged,
)
from tokmerge_jax.types import Json, UserError

NONE = "no merging"
"""The name of the system without merging."""

Rounds = Sequence[Mapping[str, float]]
"""For each round, a system's name -> seconds per clip."""

_ON_ACCELERATORS = 32  # clips that are encoded at a time, by default; 1 on a CPU


def benchmark(
    config: Config,
    folder: pathlib.Path,
    *,
    name: str,
    schedules: Sequence[str] = (),
    clips: int = 0,
    count: int = 7,
) -> dict[str, Json]:
    """Times encoding without merging and with schedules, on noise and with random weights.

    After a stop, the same call resumes; with a larger `count`, it adds rounds.

    Args:
      config: the configuration.
      folder: holds the rounds (`rounds.json`) and the result (`results.json`); it is made.
      name: the configuration's name.
      schedules: values of `config.model.merger.r`, as `merging.schedule.resolve` reads them; by
        default half of the configuration's and its own.
      clips: number of clips that are encoded at a time; 0 = 1 on a CPU, 32 on an accelerator.
      count: number of rounds.

    Returns:
      the content of `results.json`; "schedules" has a mapping for each, the one without merging
      first: "merging", "r", "tokens_out", "gmac", "share" of the GMAC without merging, and medians
      "seconds" per clip, "clips_per_second" and "times_as_fast", with "fastest" and "slowest".

    Raises:
      UserError: if a schedule cannot work, or the configuration merges nothing and has some.
    """
    systems = systems_of(config, schedules)
    clips = clips or (1 if jax.default_backend() == "cpu" else _ON_ACCELERATORS)
    folder.mkdir(parents=True, exist_ok=True)
    rounds = measure(registry.build(config), systems, folder / "rounds.json", clips, count)
    result = content(config, name, clips, rows(systems, rounds), rounds)
    text = json.dumps(result, indent=1, default=str)
    runtime.write_text(folder / "results.json", f"{text}\n")
    return result


def content(
    config: Config, name: str, clips: int, schedules: Sequence[Json], rounds: Rounds
) -> dict[str, Json]:
    """The content of `results.json`, as `benchmark` describes it."""
    return {
        "name": name,
        "machine": machine(),
        "dtype": np.dtype(runtime.compute_dtype(config.dtype)).name,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "config": settings(config),
        "clips": clips,
        "schedules": schedules,
        "rounds": rounds,
    }


def systems_of(config: Config, schedules: Sequence[str] = ()) -> dict[str, System]:
    """The systems that `benchmark` times, by what merges in them; arguments and errors as there."""
    systems, merges = {NONE: unmerged(config)}, config.model.merger.name != "none"
    if schedules and not merges:
        raise UserError(
            "config.model.merger.name=none merges nothing; name the merger whose schedules to time"
        )
    own = registry.build(config).merging.schedule.r if merges else ()
    half = tuple(r // 2 for r in own)
    used = (np.trim_zeros(r, "b") for r in (half, own) if any(r))
    tried = schedules or [schedule.literal(r) for r in used]
    for text in tried:
        systems[f"r={_short(text)}"] = registry.build(changed(config, {"merger.r": text}))
    return systems


def _short(text: str) -> str:
    """A schedule without its last comma, unless that alone makes it a list: "4," and "4" differ."""
    short = text.rstrip(",")
    return short if "," in short else text


def rows(systems: Mapping[str, System], rounds: Rounds) -> list[dict[str, Json]]:
    """The figures of each system; ratios are medians of those of the rounds."""
    macs = {name: clip_macs(system) for name, system in systems.items()}
    figures = []
    for name, system in systems.items():
        seconds = [each[name] for each in rounds]
        figures.append(
            {
                "merging": name,
                "r": list(system.merging.schedule.r),
                "tokens_out": system.merging.cost[-1].tokens_out,
                "gmac": macs[name] / 1e9,
                "share": macs[name] / macs[NONE],
                "seconds": statistics.median(seconds),
                "fastest": min(seconds),
                "slowest": max(seconds),
                "clips_per_second": 1 / statistics.median(seconds),
                "times_as_fast": statistics.median(each[NONE] / each[name] for each in rounds),
            }
        )
    return figures


def measure(
    own: System, systems: Mapping[str, System], path: pathlib.Path, clips: int, count: int
) -> Rounds:
    """Times each system in turn; `path` keeps the rounds as they come.

    Rounds in the file are used if the same programs ran on the same machine.

    Args:
      own: the configuration's system, which has the parameters of all.
      systems: the systems, by name.
      path: the file of the rounds.
      clips: number of clips that are encoded at a time.
      count: number of rounds.

    Raises:
      UserError: if the file is damaged.
    """
    programs = lowered(systems, clips)
    texts = {name: program.as_text() for name, program in programs.items()}
    facts = runtime.fingerprint({"programs": texts, "machine": machine()})
    rounds = kept_rounds.earlier(path, facts)
    if rounds:
        print(f"{len(rounds)} rounds are in {path}; to measure anew, delete it", file=sys.stderr)
    if len(rounds) >= count:
        return rounds
    runs = compiled(own, systems, programs, clips)
    for run in runs.values():
        run()  # warms up
    with Progress("timing", (count - len(rounds)) * len(runs), "run") as bar:
        while len(rounds) < count:
            seconds = {}
            for name, run in runs.items():
                seconds[name] = run()
                bar.update()
            rounds.append(seconds)
            kept_rounds.write(path, facts, rounds)
    return rounds


def lowered(systems: Mapping[str, System], clips: int) -> dict[str, jax.stages.Lowered]:
    """The lowered, uncompiled program that encodes clips, for each system."""
    programs = {}
    for name, system in systems.items():
        video = jax.ShapeDtypeStruct((clips, *frames_shape(system)), np.uint8)
        programs[name] = runtime.jit(encoder(system)).lower(system.weights.shapes, video)
    return programs


def compiled(
    own: System,
    systems: Mapping[str, System],
    programs: Mapping[str, jax.stages.Lowered],
    clips: int,
) -> dict[str, Callable[[], float]]:
    """Functions that encode clips of noise with random weights and return seconds per clip."""
    rng = np.random.default_rng(own.config.seed)
    video = jax.device_put(rng.integers(0, 256, (clips, *frames_shape(own)), np.uint8))
    params = random_weights(own)
    return {
        name: partial(_timed, programs[name].compile(), fitting(params, system), video)
        for name, system in tracked(systems.items(), "compiling", len(systems), "program")
    }


def _timed(program: Callable[..., PyTree], params: PyTree, video: jax.Array) -> float:
    start = time.perf_counter()
    jax.block_until_ready(program(params, video))
    return (time.perf_counter() - start) / len(video)
