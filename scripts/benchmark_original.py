"""Times an original inside PyTorch, one request a line; `benchmark.py` starts it.

Runs in an environment of its own that has torch, safetensors and what the original needs. The job's
folder holds `job.json` (the system, sizes), `weights.safetensors` (names as in a checkpoint of the
original) and `inputs.npz`; `original_<system>.py` knows the original.

A request is one JSON line on stdin: {"stage", "form", "how"} and what the stage takes; `how` says
with or without merging. The answer, one JSON line on stdout, is {"seconds", "output"}: how long the
stage took, and a small result to compare.
"""

import json
import pathlib
import sys
import time
from importlib import import_module

import numpy as np
import torch
from safetensors.torch import load_file


def main(checkout: str, folder: str, threads: str) -> None:
    """Answers requests until stdin closes."""
    torch.set_num_threads(int(threads))
    job = json.loads((pathlib.Path(folder) / "job.json").read_text())
    weights = load_file(pathlib.Path(folder) / "weights.safetensors")
    original = import_module(job["original"])
    model = original.Original(checkout, job, weights, folder)
    with np.load(pathlib.Path(folder) / "inputs.npz") as arrays:
        inputs = {name: torch.from_numpy(array) for name, array in arrays.items()}
    for line in sys.stdin:
        request = json.loads(line)
        stage, form, how = (request.pop(name) for name in ("stage", "form", "how"))
        model.set_up(form, how)
        with torch.inference_mode(stage != "train"):
            start = time.perf_counter()
            output = getattr(model, stage)(inputs, **request)
            seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "output": output.flatten().tolist()}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
