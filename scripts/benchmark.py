"""Times the stages of an evaluation, beside a matrix product and, if asked, beside the original.

Or tells, with `--stages memory`, what training as configured holds in memory; nothing runs.

Examples:
  python scripts/benchmark.py --config configs/msrvtt_b16.py
  python scripts/benchmark.py --config configs/msrvtt_qa_b16.py --stages answer
  python scripts/benchmark.py --config configs/msrvtt_b16.py --stages encode \
      --against vid-TLDR --against_python torch-env/bin/python
  python scripts/benchmark.py --config configs/tempme_msrvtt_b32.py \
      --against TempMe --against_python torch-env/bin/python
  python scripts/benchmark.py --config configs/tdsclip_ssv2_b16.py --stages memory

Every round runs each case once, so that a busy minute of the machine slows all alike; medians are
compared. Compiling is told apart. "Ceiling" is a large matrix product of the model's shapes in the
same rounds. GMAC are multiply-accumulates (what papers call GFLOPs), GFLOP are two for each.
Re-ranking is timed on a part of its pairs, and multiplied; so are questions that are answered anew.
"""

import dataclasses
import functools
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import common
import jax
import numpy as np
import rich.console
import rich.table
from absl import flags
from benchmark_cases import Case, answer, ceiling, encode, make_inputs, rerank, text, weights
from benchmark_training import memory, train
from ml_collections import ConfigDict
from safetensors.numpy import save_file

from tokmerge_jax import convert, registry
from tokmerge_jax.types import Params, System, UserError

_STAGES = flags.DEFINE_list(
    "stages",
    [],
    "encode, text, rerank (retrieval), answer (questions), train (TempMe, TDS-CLIP); default: all"
    " there are; memory (of training) is told of every system",
)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "timed runs of each case", lower_bound=1)
_AGAINST = flags.DEFINE_string("against", "", "a checkout of the original, to time it as well")
_PYTHON = flags.DEFINE_string("against_python", "", "its Python: torch and what it needs")
_OUTPUT = flags.DEFINE_string("output", "", "a .json file for the figures")


Ask = Callable[..., tuple[float, np.ndarray]]
"""Keywords of a request -> seconds and result."""


def main(config: ConfigDict) -> None:
    """Times the stages that the flags ask for, or tells their memory, and reports."""
    timed = _STAGES_OF.get(config.system, {})
    known = [*timed, _MEMORY]
    stages = _STAGES.value or list(timed) or known
    check_paths(config.system)
    system = registry.build(config)
    if unknown := set(stages) - set(known):
        raise UserError(
            f"--stages={','.join(sorted(unknown))}: {system.name} has {', '.join(known)}"
        )
    result = {"machine": _machine(), "config": config.to_dict()}
    console = rich.console.Console(width=130)
    if names := [name for name in stages if name != _MEMORY]:
        result["cases"] = time_stages(system, names)
        console.print(table(result["cases"]))
    if _MEMORY in stages:
        result[_MEMORY] = memory(system)
        console.print(memory_table(result[_MEMORY]))
    if _OUTPUT.value:
        pathlib.Path(_OUTPUT.value).write_text(json.dumps(result, indent=2, default=str))


def time_stages(system: System, names: Sequence[str]) -> list[dict[str, Any]]:
    """Figures of the stages' cases, and of the original's where it is asked for."""
    params, inputs = weights(system), make_inputs(system)
    cases = [ceiling(system)]
    for name in names:
        cases += _STAGES_OF[system.name][name](system, params, inputs)
    if not _AGAINST.value:
        return report(cases, _ROUNDS.value)
    if not any(case.requests for case in cases):
        raise UserError(f"--against={_AGAINST.value}: the original has no such network or stage")
    with _original(system, params, inputs) as ask:
        return report(cases + _original_cases(cases, ask), _ROUNDS.value)


_MEMORY = "memory"
_STAGES_OF = {
    "vid_tldr": {"encode": encode, "text": text, "rerank": rerank},
    "vid_tldr_qa": {"encode": encode, "answer": answer},
    "tempme": {"encode": encode, "text": text, "train": train},
    "testa": {"encode": encode, "text": text, "rerank": rerank},
    "tds_clip": {"encode": encode, "train": train},
}
_ORIGINALS = {  # the module that knows it, its repository, a folder in it, its packages
    "vid_tldr": ("original_vid_tldr", "mlvlab/vid-TLDR", "multi_modality", "einops, transformers"),
    "vid_tldr_qa": (
        "original_vid_tldr",
        "mlvlab/vid-TLDR",
        "multi_modality",
        "einops, transformers",
    ),
    "tempme": ("original_tempme", "LunarShen/TempMe", "tvr", "numpy"),
    "testa": ("original_testa", "RenShuhuai-Andy/TESTA", "testa", "einops, transformers"),
    "tds_clip": ("original_tdsclip", "BBYL9413/TDS-CLIP", "clip", "einops"),
}


def check_paths(system: str) -> None:
    """Raises UserError unless what the flags name can be used; told before long work."""
    if _AGAINST.value:
        if system not in _ORIGINALS:
            raise UserError(
                f"--against: config.system={system!r} is timed beside no original; known:"
                f" {', '.join(_ORIGINALS)}"
            )
        _, repository, folder, packages = _ORIGINALS[system]
        if not pathlib.Path(_AGAINST.value, folder).is_dir():
            raise UserError(f"--against={_AGAINST.value} is no checkout of {repository}")
        if not _PYTHON.value or not shutil.which(_PYTHON.value):
            raise UserError(
                f"--against_python={_PYTHON.value} is no Python; name one that has torch,"
                f" safetensors, {packages}"
            )
    if _OUTPUT.value and not pathlib.Path(_OUTPUT.value).absolute().parent.is_dir():
        raise UserError(f"--output={_OUTPUT.value}: there is no such folder; make it first")


def report(cases: Sequence[Case], rounds: int) -> list[dict[str, Any]]:
    """Times all cases in turn, `rounds` times after a run to warm up; the first is the ceiling."""
    outputs = [case.run()[1] for case in cases]
    seconds = [[case.run()[0] for case in cases] for _ in range(rounds)]
    rows = []
    for i, case in enumerate(cases):
        times = [row[i] for row in seconds]
        first = next(j for j, other in enumerate(cases) if other.stage == case.stage)
        rows.append(
            {
                "stage": case.stage,
                "way": case.way,
                "seconds": case.runs * statistics.median(times),
                "fastest": case.runs * min(times),
                "slowest": case.runs * max(times),
                "compile_seconds": case.compile_seconds,
                "gmac": case.runs * case.macs / 1e9,
                "gflops": 2 * case.macs / statistics.median(times) / 1e9,
                "timed_share": 1 / case.runs,
                "difference": _difference(outputs[first], outputs[i]),
            }
        )
        rows[-1]["share_of_ceiling"] = rows[-1]["gflops"] / rows[0]["gflops"]
        rows[-1]["times_first"] = rows[-1]["seconds"] / rows[first]["seconds"]
    return rows


def table(rows: Sequence[dict[str, Any]]) -> rich.table.Table:
    """The figures of `report` for a reader."""
    view = rich.table.Table()
    for title in (
        "stage",
        "way",
        "median s",
        "min-max s",
        "compile s",
        "GMAC",
        "GFLOP/s",
        "of ceiling",
        "x first",
        "difference",
    ):
        view.add_column(title)
    for row in rows:
        view.add_row(
            row["stage"],
            row["way"],
            f"{row['seconds']:.3f}",
            f"{row['fastest']:.3f}-{row['slowest']:.3f}",
            f"{row['compile_seconds']:.1f}",
            f"{row['gmac']:.1f}",
            f"{row['gflops']:.0f}",
            f"{row['share_of_ceiling']:.0%}",
            f"{row['times_first']:.2f}",
            f"{row['difference']:.0e}",
        )
    return view


def memory_table(rows: Sequence[dict[str, Any]]) -> rich.table.Table:
    """The figures of `benchmark_training.memory` for a reader, bytes as MiB."""
    counts = "stage", "clips", "parts"
    view = rich.table.Table(title="Training holds, in MiB")
    for title in rows[0]:
        view.add_column(title, justify="left" if title == "stage" else "right")
    for row in rows:
        view.add_row(*(str(x) if name in counts else f"{x / 2**20:.1f}" for name, x in row.items()))
    return view


def _difference(want: np.ndarray, got: np.ndarray) -> float:
    """Largest difference, relative to the largest value, of what both have computed."""
    count = min(want.size, got.size)
    a, b = want.ravel()[:count], got.ravel()[:count]
    return float(np.abs(a - b).max() / np.abs(a).max())


@contextmanager
def _original(system: System, params: Params, inputs: dict[str, np.ndarray]) -> Iterator[Ask]:
    """A process that holds the original with the same weights and inputs, and a way to ask it."""
    model, (original, *_) = system.config.model.to_dict(), _ORIGINALS[system.name]
    job = {"embed_dim": 0, **model, "original": original}
    driver = pathlib.Path(__file__).with_name("benchmark_original.py")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "job.json").write_text(json.dumps(job, default=str))
        host = jax.tree.map(np.asarray, params)
        weights = convert.to_torch(system.name, host, system.config)
        weights = {name: np.asarray(x, order="C") for name, x in weights.items()}
        save_file(weights, folder / "weights.safetensors")
        np.savez(folder / "inputs.npz", allow_pickle=False, **inputs)
        command = [_PYTHON.value, str(driver), _AGAINST.value, name, str(os.cpu_count())]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            requests, answers = process.stdin, process.stdout
            assert requests
            assert answers

            def ask(**request: Any) -> tuple[float, np.ndarray]:
                try:
                    print(json.dumps(request), file=requests, flush=True)
                    answer = answers.readline()
                except BrokenPipeError:
                    answer = ""
                if not answer:
                    process.stdin = None  # it takes no more, not even what is still to be sent
                    raise UserError(
                        f"--against: {' '.join(command[:2])} ended; see its error above"
                    )
                answer = json.loads(answer)
                return answer["seconds"], np.asarray(answer["output"], np.float32)

            yield ask


def _original_cases(cases: Sequence[Case], ask: Ask) -> list[Case]:
    """The original's ways through each job of ours that it can be asked for."""
    return [
        dataclasses.replace(
            case,
            way=f"original, {request['form']}",
            run=functools.partial(ask, **request),
            compile_seconds=0,
        )
        for case in cases
        for request in case.requests
    ]


def _machine() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
    }


if __name__ == "__main__":
    common.run(main)
