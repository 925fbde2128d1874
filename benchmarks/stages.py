"""Times the stages of an evaluation, beside a matrix product and, if asked, beside the original.

With `--stages memory`, reports what training as configured holds in memory, without running it.

Examples:
  python -m benchmarks.stages --config msrvtt_b16
  python -m benchmarks.stages --config msrvtt_b16 --stages encode --clips 1,8,32
  python -m benchmarks.stages --config msrvtt_qa_b16 --stages answer
  python -m benchmarks.stages --config msrvtt_b16 --stages decode,evaluation --rounds 1
  python -m benchmarks.stages --config msrvtt_b16 --stages encode \\
      --against vid-TLDR --against_python torch-env/bin/python
  python -m benchmarks.stages --config tempme_msrvtt_b32 \\
      --against TempMe --against_python torch-env/bin/python
  python -m benchmarks.stages --config tdsclip_ssv2_b16 --stages memory
  XLA_FLAGS=--xla_force_host_platform_device_count=8 python -m benchmarks.stages \\
      --config msrvtt_l16 --config.mesh.fsdp=8 --stages memory

Every round runs each case once, so that a busy minute of the machine slows all alike; medians are
compared. Compilation is reported separately. "Ceiling" is a large matrix product of the model's
shapes in the same rounds. GMAC are multiply-accumulates (what papers call GFLOPs), FLOP are two for
each. Re-ranking is timed on a part of its pairs and scaled up; so are questions answered one by
one.

The stages `decode`, `evaluation` and `kernels` take long and run only where they are named.
`decode` draws videos and reads them as `config.data` says; a decord that the original's Python has
is timed as well. `evaluation` is a whole evaluation without decoding, on random clips: `--gallery`
is the number of videos, the largest of `--clips` the number encoded at a time; all are held in
memory as float32. `kernels` compares the forms of attention and of a merge.

Peak memory is accounted in two ways: ours is what the compiler reports for the program, with its
arguments and results; the original's is the most that PyTorch's allocator held, all its weights
with it, and known on a GPU alone. The original runs on a GPU if ours does: training under bfloat16
autocast, everything else under float16 autocast, unless ours computes in float32.
"""

import contextlib
import datetime
import json
import pathlib
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import rich.console
from absl import flags

from benchmarks.cases import Case, Inputs, Sizes
from benchmarks.decoding import decode
from benchmarks.encoding import ceiling, encode, text
from benchmarks.evaluation import questions, recognition, retrieval
from benchmarks.figures import Row, report
from benchmarks.inputs import make_inputs, weights
from benchmarks.kernels import forms
from benchmarks.pairs import answer, rerank
from benchmarks.peer import OTHERS, Peer, original_cases
from benchmarks.profile import kernels_of
from benchmarks.tables import memory_table, table
from benchmarks.training import memory, train
from tokmerge_jax import command_line, registry, runtime
from tokmerge_jax.config import Config, umt
from tokmerge_jax.evaluation.report import settings
from tokmerge_jax.system import System
from tokmerge_jax.tasks.synthetic import machine
from tokmerge_jax.types import Params, UserError

_STAGES = flags.DEFINE_list(
    "stages",
    [],
    "encode, text, rerank (retrieval), answer (questions), train (TempMe, TDS-CLIP); default: all"
    " of these that there are; decode, evaluation; kernels (not with divided attention): forms of"
    " attention and merging, side by side; memory (of training) is available for every system",
)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "timed runs of each case", lower_bound=1)
_AGAINST = flags.DEFINE_string("against", "", "a checkout of the original, to time it as well")
_PYTHON = flags.DEFINE_string("against_python", "", "its Python: torch and what it needs")
_OUTPUT = flags.DEFINE_string("output", "", "a .json file for the figures, written every round")
_PROFILE = flags.DEFINE_bool("profile", False, "report which kernels the time of our cases goes to")
_WAIT = flags.DEFINE_bool(
    "wait", False, 'when all is compiled, print "ready" and wait for a line on standard input'
)
_SIZES = Sizes()
_GALLERY = flags.DEFINE_integer(
    "gallery",
    _SIZES.gallery,
    "videos, and as many texts, of the re-ranking and the evaluation",
    lower_bound=1,
)
_CLIPS = flags.DEFINE_list(
    "clips", ["1"], "clips that are encoded at a time, as in 1,8,32; the evaluation takes the most"
)
_QUESTIONS = flags.DEFINE_integer(
    "questions", _SIZES.questions, "questions about a video", lower_bound=1
)
_ANSWERS = flags.DEFINE_integer("answers", _SIZES.answers, "answers to choose from", lower_bound=1)
_TRAIN_CLIPS = flags.DEFINE_integer(
    "train_clips",
    _SIZES.train_clips,
    "clips of a step of training, no more than --gallery",
    lower_bound=1,
)

READY = "ready"
"""The line that says, with `--wait`, that all is compiled."""

_MEMORY = "memory"
_LONG = "decode", "evaluation", "kernels"
Stage = Callable[[System, Params, Inputs, Sizes], list[Case]]


def main(config: Config) -> None:
    """Times the stages that the flags ask for, or measures their memory, and reports."""
    sizes, rounds = sizes_of_flags(), _ROUNDS.value
    _check_output()
    peer = Peer(_AGAINST.value, _PYTHON.value) if _AGAINST.value else None
    if peer:
        peer.check(config.system)
    system = registry.build(config)
    timed = stages_of(system)
    known = [*timed, _MEMORY]
    stages = _STAGES.value or [name for name in timed if name not in _LONG] or known
    if unknown := set(stages) - set(known):
        raise UserError(
            f"--stages={','.join(sorted(unknown))}: {system.name} has {', '.join(known)}"
        )
    result = {
        "name": command_line.config_name(),
        "machine": machine(),
        "dtype": jnp.dtype(runtime.compute_dtype(config.dtype)).name,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "config": settings(config),
        "rounds": rounds,
    }
    console = rich.console.Console(width=150)
    if chosen := {name: timed[name] for name in stages if name != _MEMORY}:
        for rows in time_stages(
            system, chosen, sizes, peer, rounds=rounds, wait=_WAIT.value, profile=_PROFILE.value
        ):
            result["cases"] = rows
            _write(result)
        title = f"{result['name']}, {result['machine']['devices']}, ours in {result['dtype']}"
        console.print(table(result["cases"], title))
    if _MEMORY in stages:
        result[_MEMORY] = memory(system)
        console.print(memory_table(result[_MEMORY]))
        _write(result)


def sizes_of_flags() -> Sizes:
    """The numbers of things to time.

    Raises:
      UserError: if --clips holds anything but counts.
    """
    clips = tuple(int(text) if text.strip().isdecimal() else 0 for text in _CLIPS.value)
    if not clips or min(clips) < 1:
        raise UserError(
            f"--clips={','.join(_CLIPS.value)} must be counts of 1 or more, as in --clips=1,8,32"
        )
    return Sizes(
        clips, _GALLERY.value, _QUESTIONS.value, _ANSWERS.value, train_clips=_TRAIN_CLIPS.value
    )


def stages_of(system: System) -> dict[str, Stage]:
    """The stages that can be timed, by name: the records of the system's tasks decide."""
    stages: dict[str, Stage] = {}
    matching = system.retrieval and system.retrieval.matching
    if system.retrieval:
        stages |= {"text": text, "evaluation": retrieval}
    if matching:
        stages["rerank"] = rerank
    if system.answering and isinstance(system.config.model, umt.Model):  # `answer` counts its MACs
        stages |= {"answer": answer, "evaluation": questions}
    if system.recognition:
        stages["evaluation"] = recognition
    if system.training and (system.recognition or (system.retrieval and not matching)):
        stages["train"] = train  # it counts encoding, but no pairs
    if stages:
        stages = {"encode": encode, "decode": decode, **stages}
        if system.merging.attention != "divided":
            stages["kernels"] = forms
    return stages


def _write(result: Mapping[str, Any]) -> None:
    if _OUTPUT.value:
        text = json.dumps(result, indent=2, default=str)
        runtime.write_text(pathlib.Path(_OUTPUT.value), text)


def time_stages(
    system: System,
    stages: Mapping[str, Stage],
    sizes: Sizes,
    peer: Peer | None,
    *,
    rounds: int,
    wait: bool,
    profile: bool,
) -> Iterator[list[Row]]:
    """Figures of our cases, and of the original's if given, by round; keywords as the flags."""
    params, inputs = weights(system), make_inputs(system, list(stages), sizes)
    jax.config.update("jax_enable_compilation_cache", False)  # compiling is to be timed
    cases = [ceiling(system, max(sizes.clips))]
    for make in stages.values():
        cases += make(system, params, inputs, sizes)
    compared = with_original(cases, peer) if peer else []
    with contextlib.ExitStack() as stack:
        if peer and compared:
            ask = stack.enter_context(peer.ready(system, params, inputs))
            order = list(dict.fromkeys(case.stage for case in cases))
            cases += original_cases(compared, ask)
            cases.sort(key=lambda case: order.index(case.stage))  # beside ours
        if wait:
            print(READY, flush=True)
            sys.stdin.readline()
        rows = []
        for rows in report(cases, rounds):
            yield rows
        if profile:
            yield [
                row if case.way.startswith(OTHERS) else {**row, "kernels": kernels_of(case.run)}
                for case, row in zip(cases, rows, strict=True)
            ]


def with_original(cases: Sequence[Case], peer: Peer) -> list[Case]:
    """The cases that the original has too; without decord, none that decode."""
    known = [case for case in cases if case.requests]
    if not known:
        raise UserError(f"--against={peer.against}: the original has no such network or stage")
    decoding = [case for case in known if case.stage.startswith("decode")]
    if decoding and not peer.has("decord"):
        print(f"{peer.python} has no decord: decoding is timed without it", file=sys.stderr)
        return [case for case in known if case not in decoding]
    return known


def _check_output() -> None:
    """Raises UserError unless the file can be written; reported before long work."""
    if _OUTPUT.value and not pathlib.Path(_OUTPUT.value).absolute().parent.is_dir():
        raise UserError(f"--output={_OUTPUT.value}: there is no such folder; make it first")


if __name__ == "__main__":
    command_line.run(main)
