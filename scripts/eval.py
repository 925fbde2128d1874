"""Evaluates text-to-video and video-to-text retrieval.

Examples:
  python scripts/eval.py --config configs/msrvtt_b16.py --config.checkpoint=weights/msrvtt_b16
  python scripts/eval.py --config configs/demo.py --config.model.merger.name=none

Keys that are often set (--config.KEY=VALUE; all of them: configs/base/vid_tldr.py):
  checkpoint            an orbax folder of scripts/convert.py, or a .pth or .safetensors file
  output                where results go; default results/<name of the configuration>
  model.merger.name     none switches merging off
  model.merger.r        tokens that merge in each block: 600,200,100
  data.folder           where scripts/prepare_data.py put the data sets; default data
  data.on_broken        skip leaves unreadable videos out; default stop
  eval.batch_size       videos that are encoded at a time
  eval.rerank           False leaves out the matching head
  dtype                 float32 or bfloat16; default bfloat16 on accelerators

Features and scores are written as they come: stopped or killed, the same command goes on.
"""

import dataclasses
import hashlib
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import common
import jax
import numpy as np
import rich
from ml_collections import ConfigDict

from tokmerge_jax import convert, data, evaluation, parallel, registry, runtime
from tokmerge_jax.evaluation import report
from tokmerge_jax.types import Params, System, UserError

T = TypeVar("T")


def main(config: ConfigDict) -> None:
    """Evaluates, prints a table, writes results.json and scores.npz."""
    system = registry.build(config)
    options = evaluation.Options(**config.eval)
    source, params = inputs(system)
    texts = system.tokenize(source.gallery.texts)
    folder, watch = common.output(config), runtime.Stopwatch()
    store = evaluation.Store(folder / "cache", facts(system, source, params))
    model = evaluation.Model(system.predict, params, parallel.make_mesh(config.mesh))

    def batches(batch_size: int, start: int) -> Any:
        return source.batches(system.transform, batch_size, start)

    try:
        scores = evaluation.evaluate(
            model, batches, len(source.gallery.videos), texts, options, store, watch
        )
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on from here.", file=sys.stderr)
        sys.exit(130)
    found = report.results(
        common.config_name(),
        system,
        source.gallery,
        source.broken,
        scores,
        store.fingerprint,
        watch.seconds,
    )
    report.write(folder, found, scores)
    rich.print(report.table(found))
    print(f"Results and scores are in {folder}")


def inputs(system: System) -> tuple[data.RetrievalSource, Params]:
    """Videos and parameters; whatever is missing is told at once, before any long work."""
    config, faults = system.config, []

    def attempt(load: Callable[[], T]) -> T | None:
        try:
            return load()
        except UserError as error:
            faults.append(str(error))
            return None

    params = attempt(lambda: convert.load_checkpoint(config.checkpoint, system))
    source = attempt(lambda: data.open_retrieval(config.data, system.constants["frames"]))
    attempt(lambda: system.tokenize([""]))
    if source is None or params is None or faults:
        raise UserError("\n".join(faults))
    return source, params


def facts(system: System, source: data.RetrievalSource, params: Params) -> dict[str, Any]:
    """What the numbers depend on. A cache of other facts is left alone."""
    config = system.config
    content = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        content.update(np.ascontiguousarray(leaf).data)
    folder = pathlib.Path(config.data.folder)
    files = [os.stat(folder / path) for path in source.paths]
    gallery = dataclasses.asdict(source.gallery)
    return {
        "system": system.name,
        "model": config.model.to_dict(),
        "compute": np.dtype(runtime.compute_dtype(config.dtype)).name,
        "checkpoint": content.hexdigest(),
        "frames": [config.data.trim_seconds, str(system.transform)],
        "text": [config.data.vocabulary, config.data.max_text_length],
        "gallery": runtime.fingerprint(gallery),
        "files": runtime.fingerprint({"stamps": [(f.st_size, f.st_mtime_ns) for f in files]}),
        "package": runtime.versions()["tokmerge_jax"],
    }


if __name__ == "__main__":
    common.run(main)
