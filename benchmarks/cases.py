"""Cases to time, which the stages of `stages.py` make, and the sizes of their inputs."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from tokmerge_jax import runtime

Inputs = dict[str, np.ndarray]
"""Names of a network's inputs -> random arrays (`inputs.make_inputs`)."""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The numbers of clips, texts, questions and answers that are timed.

    Attributes:
      clips: numbers of clips that are encoded at a time; an evaluation uses the largest.
      gallery: number of videos, and of texts, of re-ranking and of an evaluation.
      questions: number of questions about a video.
      answers: number of answers to choose from.
      train_clips: number of clips of a step of training.
    """

    clips: tuple[int, ...] = (1,)
    gallery: int = 64
    questions: int = 24
    answers: int = 1500
    train_clips: int = 4


class Timed(NamedTuple):
    """The time of one run, a result to compare, and its peak memory in bytes, if measured."""

    seconds: float
    output: np.ndarray
    peak_bytes: int | None = None


@dataclasses.dataclass(frozen=True)
class Case:
    """Something to time.

    Attributes:
      stage: the name of the job; cases of one stage do the same job.
      way: who or what does it: "ours", "original, eager", "decord", or a form of a kernel.
      run: runs the job once.
      macs: multiply-accumulates of one run; None if not counted.
      runs: number of such runs in the whole job, by which seconds and GMAC are scaled.
      clips: number of clips in the whole job, if it processes clips.
      compile_seconds: seconds of compilation; None if nothing was compiled before the first run.
      compiles: whether the first run compiles; its extra time is then reported.
      peak_bytes: peak memory of a run in bytes, if known in advance.
      requests: way -> request to the original for the same job (`driver.py`).
      original_macs: multiply-accumulates of the original's run, if not `macs`.
    """

    stage: str
    way: str
    run: Callable[[], Timed]
    macs: int | None = None
    runs: float = 1
    clips: int | None = None
    compile_seconds: float | None = None
    compiles: bool = False
    peak_bytes: int | None = None
    requests: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    original_macs: int | None = None


def compiled(
    stage: str,
    way: str,
    function: Callable[..., Any],
    arguments: Any,
    macs: int | None,
    **more: Any,
) -> Case:
    """A case of ours: `function(*arguments)`, compiled here; its first result is compared.

    Further keywords are attributes of the case.
    """
    arguments = jax.block_until_ready(jax.device_put(arguments))
    start = time.perf_counter()
    program = runtime.jit(function).lower(*arguments).compile()
    seconds, peak = time.perf_counter() - start, program_bytes(program)

    def run() -> Timed:
        start = time.perf_counter()
        output = jax.block_until_ready(program(*arguments))
        seconds = time.perf_counter() - start
        return Timed(seconds, np.asarray(jax.tree.leaves(output)[0]))

    return Case(stage, way, run, macs, compile_seconds=seconds, peak_bytes=peak, **more)


def program_bytes(program: jax.stages.Compiled) -> int | None:
    """Peak memory of a program in bytes: arguments, results and intermediate results.

    None if the compiler does not report it.
    """
    analysis = program.memory_analysis()
    if analysis is None:
        return None
    given, made = analysis.argument_size_in_bytes, analysis.output_size_in_bytes
    return given + made + analysis.temp_size_in_bytes - analysis.alias_size_in_bytes


def counted(clips: int) -> str:
    """The number of clips with its noun, such as "8 clips"."""
    return f"{clips} clip{'s' * (clips > 1)}"
