"""The original that `stages.py` compares with, in a process of its own with PyTorch."""

import dataclasses
import functools
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from benchmarks.cases import Case, Timed
from tokmerge_jax import checkpoints, runtime
from tokmerge_jax.config import tds_clip, umt, videoprism
from tokmerge_jax.system import System
from tokmerge_jax.tasks.synthetic import clip_macs, unmerged
from tokmerge_jax.types import Params, UserError

Ask = Callable[..., Timed]
"""A request's keywords -> its time and its result."""

OTHERS = ("original", "decord")
"""Prefixes of ways that are not ours."""


class _Original(NamedTuple):
    """An original.

    Attributes:
      module: that knows it.
      repository: of which --against is a checkout.
      folder: that a checkout has.
      packages: that it needs.
      forms: of attention in which it is timed, where its method leaves a choice.
      tower: whether only its encoding of videos is timed; nothing merges in it.
      table: which of the system's tables has its names of parameters.
    """

    module: str
    repository: str
    folder: str
    packages: str
    forms: tuple[str, ...] = ("eager", "fused")
    tower: bool = False
    table: int = 0


_BERT = "einops, transformers before 5"
_INTERNVIDEO2 = "InternVideo2/multi_modality/models/backbones/internvideo2"
_ORIGINALS = {
    "vid_tldr": _Original("vid_tldr", "mlvlab/vid-TLDR", "multi_modality", _BERT),
    "vid_tldr_qa": _Original("vid_tldr", "mlvlab/vid-TLDR", "multi_modality", _BERT),
    "tempme": _Original("tempme", "LunarShen/TempMe", "tvr", "numpy"),
    "testa": _Original("testa", "RenShuhuai-Andy/TESTA", "testa", _BERT),
    "tds_clip": _Original("tdsclip", "BBYL9413/TDS-CLIP", "clip", "einops"),
    "pe_core": _Original(
        "pecore",
        "facebookresearch/perception_models",
        "core/vision_encoder",
        "einops",
        tower=True,
    ),
    "internvideo2": _Original(
        "internvideo2", "OpenGVLab/InternVideo", _INTERNVIDEO2, "einops", tower=True
    ),
    "videoprism": _Original(
        "videoprism",
        "huggingface/transformers (its src)",
        "transformers/models/videoprism",
        "what transformers needs",
        ("eager",),
        tower=True,
        table=1,
    ),
}


@dataclasses.dataclass(frozen=True)
class Peer:
    """The original's checkout and Python.

    Attributes:
      against: the checkout (--against).
      python: the Python that runs it (--against_python).
    """

    against: str
    python: str

    def check(self, system: str) -> None:
        """Raises UserError, before long work, unless the flags name a usable original."""
        if system not in _ORIGINALS:
            raise UserError(
                f"--against: config.system={system!r} is timed beside no original; known:"
                f" {', '.join(_ORIGINALS)}"
            )
        original = _ORIGINALS[system]
        if not pathlib.Path(self.against, original.folder).is_dir():
            raise UserError(f"--against={self.against} is no checkout of {original.repository}")
        if not self.python or not shutil.which(self.python):
            raise UserError(
                f"--against_python={self.python} is no Python; name one that has torch,"
                f" safetensors, {original.packages}"
            )

    def has(self, package: str) -> bool:
        """Whether its Python can import a package."""
        command = [self.python, "-c", f"import {package}"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    @contextmanager
    def ready(
        self, system: System, params: Params, inputs: Mapping[str, np.ndarray]
    ) -> Iterator[Ask]:
        """Starts the original with our inputs; yields a function that sends requests."""
        with tempfile.TemporaryDirectory() as name:
            write_job(pathlib.Path(name), system, params, inputs)
            with self.started(name) as ask:
                yield ask

    @contextmanager
    def started(self, folder: str) -> Iterator[Ask]:
        """As `ready`, with a job's folder that `write_job` has written."""
        command = [self.python, "-m", "benchmarks.originals.driver"]
        arguments = [self.against, folder, str(os.cpu_count())]
        path = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[1])}
        with subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=path,
        ) as process:
            ask = functools.partial(_ask, process, " ".join(command))
            ask(stage="load")
            yield ask


def requests_for(stage: str, system: System, **more: Any) -> dict[str, dict[str, Any]]:
    """The requests to the original for a stage, one per form."""
    model, data = system.config.model, system.config.data
    if isinstance(model, tds_clip.Model) and (
        model.merger.name != "none" or not model.side.differences or data.neighbours != 5
    ):
        return {}  # TDS-CLIP's original merges nothing, and reads five frames in place of one
    original = _ORIGINALS.get(system.name)
    if original and original.tower and (stage != "encode" or model.merger.name != "none"):
        return {}
    forms = original.forms if original and stage in ("encode", "train", "evaluate") else ("eager",)
    # vid-TLDR's original takes the tokens merged in each layer, the others "on" or "off".
    how: str | list[int] = "off" if model.merger.name == "none" else "on"
    if isinstance(model, umt.Model):
        how = list(system.merging.schedule.r)
    precision = ""
    if on_gpu():  # where it is not float32 anyway
        narrow = "bfloat16" if stage == "train" else "float16"
        precision = f", {narrow if half(system) else 'float32'}"
    elif stage != "train":  # PyTorch has no gradients of oneDNN's products
        forms = *forms, f"{forms[-1]}, oneDNN"
    return {
        f"original, {form}{precision}": {"stage": stage, "form": form, "how": how, **more}
        for form in forms
    }


def encoding_macs(system: System) -> int:
    """Multiply-accumulates with which the original encodes a clip."""
    *layers, pooling = system.merging.cost
    if not isinstance(system.config.model, videoprism.Model):
        return clip_macs(system)
    # It projects all tokens to keys and values of four times the width; ours, the query alone.
    width, tokens = system.config.model.vision.width, pooling.tokens_out
    return sum(layer.macs for layer in layers) + 8 * width * (tokens * (width + 1) + width)


def on_gpu() -> bool:
    """Whether ours runs on a GPU; the original then does as well."""
    return jax.default_backend() == "gpu"


def half(system: System) -> bool:
    """Whether ours computes in half precision."""
    return runtime.compute_dtype(system.config.dtype) == jnp.bfloat16


def original_cases(ours: Sequence[Case], ask: Ask) -> list[Case]:
    """The original's cases for the same jobs as ours."""
    return [
        dataclasses.replace(
            case,
            way=way,
            run=functools.partial(ask, **request),
            macs=case.original_macs or case.macs,
            compile_seconds=None,
            compiles=False,
            peak_bytes=None,
        )
        for case in ours
        for way, request in case.requests.items()
    ]


def write_job(
    folder: pathlib.Path, system: System, params: Params, inputs: Mapping[str, np.ndarray]
) -> None:
    """Writes the job's folder, whose content the docstring of `driver.py` lists."""
    original = _ORIGINALS[system.name]
    job = {
        "embed_dim": 0,
        **system.config.model.to_dict(),
        "original": original.module,
        "macs": encoding_macs(unmerged(system.config)),
        "device": "cuda" if on_gpu() else "cpu",
        "autocast": on_gpu() and half(system),
    }
    (folder / "job.json").write_text(json.dumps(job, default=str))
    host = jax.tree.map(np.asarray, params)
    weights = checkpoints.rules.unload(system.weights.names[original.table], host)
    save_file(weights, folder / "weights.safetensors")
    np.savez(folder / "inputs.npz", allow_pickle=False, **inputs)


def _ask(process: subprocess.Popen[str], command: str, **request: Any) -> Timed:
    assert process.stdin
    assert process.stdout
    try:
        print(json.dumps(request), file=process.stdin, flush=True)
        answer = process.stdout.readline()
    except BrokenPipeError:
        answer = ""
    if not answer:
        process.stdin = None  # it takes no more, not even what is still to be sent
        raise UserError(f"--against: {command} ended; see its error above")
    answer = json.loads(answer)
    return Timed(answer["seconds"], np.asarray(answer["output"], np.float32), answer["peak_bytes"])
