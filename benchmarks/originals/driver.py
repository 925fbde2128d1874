"""Times an original inside PyTorch, one request a line; `stages.py` starts it.

Runs in an environment of its own that has torch, safetensors and what the original needs. The job's
folder holds `job.json` (the system, sizes, the device), `weights.safetensors` (names as in a
checkpoint of the original) and `inputs.npz`; `<system>.py` knows the original.

Requests and answers are JSON, one a line, on stdin and stdout:
  Request: {stage, form, how, ...stage arguments}. `form` is an attention ("eager", "fused"); on a
    CPU, ", oneDNN" after it makes the linear layers' products by oneDNN. `how` is "on", "off" or r
    per layer. The stage "load" has no more keys and returns once the network is built.
  Answer: {seconds, output, peak_bytes}. `output` is a small result to compare, flattened;
    `peak_bytes` is the most memory held on a GPU, weights included, and null on a CPU.

On a GPU where ours computes in half precision, the original does as well: under float16 autocast,
the papers' protocol, and in training under bfloat16's, ours, which needs no scaled gradients.
"""

import json
import pathlib
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

_linear = F.linear


def main(checkout: str, folder: str, threads: str) -> None:
    """Answers requests until stdin closes."""
    torch.set_num_threads(int(threads))
    job = json.loads((pathlib.Path(folder) / "job.json").read_text())
    if job["device"] == "cuda" and not torch.cuda.is_available():
        sys.exit("its torch finds no GPU, and ours runs on one; install a torch for it")
    weights = load_file(pathlib.Path(folder) / "weights.safetensors")
    original = import_module(f"benchmarks.originals.{job['original']}")
    with torch.device(job["device"]):
        model = original.Original(checkout, job, weights, folder)
    with np.load(pathlib.Path(folder) / "inputs.npz") as arrays:
        inputs = {name: torch.from_numpy(array) for name, array in arrays.items()}
    for line in sys.stdin:
        request = json.loads(line)
        stage = request.pop("stage")
        if stage == "load":
            run = partial(torch.empty, 0)
        elif stage == "decode":
            run = import_module("benchmarks.originals.decoding").ready(request.pop("processes"))
        else:
            run = _stage(model, stage, inputs, job["device"], request)
        narrow = torch.bfloat16 if stage == "train" else torch.float16
        with (
            torch.inference_mode(stage != "train"),
            torch.autocast(job["device"], narrow, enabled=job["autocast"]),
        ):
            answer = _timed(run, request, job["device"])
        print(json.dumps(answer), flush=True)


def _stage(
    model: Any,
    stage: str,
    inputs: dict[str, torch.Tensor],
    device: str,
    request: dict[str, Any],
) -> Callable[..., torch.Tensor]:
    """A stage of the model, which is set up for it, with its inputs on the device, as ours has.

    The gallery stays on the host: an evaluation takes it from there, a batch at a time.
    """
    attention, _, products = request.pop("form").partition(", ")
    model.set_up(attention, request.pop("how"))
    F.linear = _onednn if products == "oneDNN" else _linear
    if stage == "encode":
        given = {"video": inputs["video"][: request.pop("clips")].to(device)}
    else:
        host = "video", "gallery"
        given = {name: x if name in host else x.to(device) for name, x in inputs.items()}
    return lambda **more: getattr(model, stage)(given, **more)


def _onednn(
    input: torch.Tensor,  # the name in `linear`
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """`linear` by oneDNN. PyTorch itself takes MKL, which is slow on AMD's processors."""
    return torch.ops.mkldnn._linear_pointwise(input, weight, bias, "none", [], "")


def _timed(
    run: Callable[..., torch.Tensor], request: dict[str, Any], device: str
) -> dict[str, Any]:
    """The answer to a request. Work on a GPU is waited for, before and after."""
    peak = None
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    output = run(**request)
    if device == "cuda":
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "output": output.flatten().tolist(), "peak_bytes": peak}


if __name__ == "__main__":
    main(*sys.argv[1:])
