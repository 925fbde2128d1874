"""Evaluates one batch of random videos and texts and prints the seconds, for `startup.py`.

Runs in a fresh process: python -m benchmarks.first_batch JOB BEGUN, where JOB is a pickled
configuration and BEGUN the time at which the process was started.
"""

import dataclasses
import json
import pathlib
import pickle
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from tokmerge_jax import commands

if TYPE_CHECKING:  # what they import is timed
    from tokmerge_jax.data import Source
    from tokmerge_jax.system import System
    from tokmerge_jax.types import Actions, Gallery

_EVENTS = {
    "/jax/core/compile/jaxpr_trace_duration": "tracing",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lowering",
    "/jax/core/compile/backend_compile_duration": "compiling or loading",
}


def main(job: str, begun: str) -> None:
    """Does what `tokmerge eval` does, and prints its phases as JSON."""
    last, seconds = float(begun), dict.fromkeys(_EVENTS.values(), 0.0)

    def ended(phase: str) -> None:
        nonlocal last
        now = time.time()
        seconds[phase], last = now - last, now

    commands.imported("eval")
    import jax

    from tokmerge_jax import checkpoints, registry, runtime
    from tokmerge_jax.tasks import evaluation, kept

    def note(event: str, duration_secs: float, **what: str | int) -> None:
        # A program's own tracing includes that of the functions in it.
        phase = _EVENTS.get(event)
        if phase and (phase != "tracing" or "on_whole" in str(what.get("fun_name"))):
            seconds[phase] += duration_secs

    runtime.start()
    jax.monitoring.register_event_duration_secs_listener(note)
    ended("imports")
    config = pickle.loads(pathlib.Path(job).read_bytes())
    system = kept.recall(registry.build(config))
    ended("network")
    params = checkpoints.load_checkpoint(config.checkpoint, system)
    ended("checkpoint")
    with tempfile.TemporaryDirectory() as folder:
        system, source = _inputs(system, folder)
        evaluation.evaluate("startup", system, params, source, pathlib.Path(folder))
        ended("first batch")
    total = last - float(begun)
    print(json.dumps({**seconds, "total": total, "cpu": time.process_time()}))


def _inputs(system: "System", folder: str) -> "tuple[System, Source]":
    """The system, which reads random ids of texts and ranks by cosines, and the batch."""
    from tokmerge_jax import parallel
    from tokmerge_jax.config import expect
    from tokmerge_jax.config.common import ActionModel, TextData, TextModel
    from tokmerge_jax.tasks import evaluation
    from tokmerge_jax.types import Actions, Gallery

    config = system.config.override({"data.folder": folder})
    shape = evaluation.batch_shape(system, parallel.make_mesh()).shape
    names = tuple(f"{i}.mp4" for i in range(shape[0]))
    for name in names:
        pathlib.Path(folder, name).touch()  # evaluations look at the files' times
    if system.retrieval:
        if "eval.rerank" in config.keys:
            config = config.override({"eval.rerank": False})
        length = expect(config.data, TextData).max_text_length
        ids = _Ids(length, expect(config.model, TextModel).text.vocab_size)
        task = dataclasses.replace(system.retrieval, tokenize=ids)
        system = dataclasses.replace(system, retrieval=task)
        gallery = Gallery(names, names, tuple((i,) for i in range(len(names))))
    else:
        classes = expect(config.model, ActionModel).classes
        gallery = Actions(names, (0,) * len(names), tuple(map(str, range(classes))))
    system = dataclasses.replace(system, config=config)
    return system, cast("Source", _Batch(gallery, names, shape))


@dataclasses.dataclass(frozen=True)
class _Ids:
    """Random ids in place of a vocabulary's."""

    length: int
    words: int

    def __call__(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        shape = len(texts), self.length
        ids = np.random.default_rng(0).integers(1, self.words, shape)
        return ids.astype(np.int32), np.ones(shape, bool)

    def report_cut(self, texts: Sequence[str], what: str) -> None:
        """Nothing is cut."""


@dataclasses.dataclass(frozen=True)
class _Batch:
    """A data set of one batch, in the role of `data.Source`."""

    gallery: "Actions | Gallery"
    paths: tuple[str, ...]
    shape: tuple[int, ...]
    broken: tuple[str, ...] = ()

    def batches(self, *_: object) -> Iterator[dict[str, np.ndarray]]:
        """Yields the batch."""
        index = np.arange(self.shape[0], dtype=np.int32)
        video = np.random.default_rng(0).integers(256, size=self.shape, dtype=np.uint8)
        yield {"video": video, "index": index, "mask": index >= 0}


if __name__ == "__main__":
    main(*sys.argv[1:])
