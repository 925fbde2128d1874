"""The evaluation stage of `stages.py`: a whole gallery, without decoding."""

import contextlib
import io
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.cases import Case, Inputs, Sizes, Timed, counted
from benchmarks.encoding import text_macs
from benchmarks.pairs import pair_macs
from benchmarks.peer import requests_for
from tokmerge_jax import evaluation, parallel
from tokmerge_jax.config import common, expect
from tokmerge_jax.config.evaluation import AnsweringOptions, RetrievalOptions
from tokmerge_jax.evaluation import actions, answering
from tokmerge_jax.runtime import Stopwatch
from tokmerge_jax.system import System
from tokmerge_jax.systems.validation import unchecked
from tokmerge_jax.tasks.synthetic import clip_macs, needed
from tokmerge_jax.types import Batch, Params, Questions


def retrieval(system: System, params: Params, inputs: Inputs, sizes: Sizes) -> list[Case]:
    """Evaluates N videos and N texts; the system re-ranks them if it has a matching head.

    In a gallery of up to `config.eval.top_k` videos every text is a candidate of every video, and
    the final scores are compared with the original's. In a larger one rounding decides which texts
    are candidates: the similarities are compared, and products are not counted, since the number of
    pairs is not known in advance.
    """
    texts, options = (inputs["text_ids"], inputs["text_mask"]), system.config.eval
    settings = replace(expect(options, RetrievalOptions), batch_size=max(sizes.clips))
    count, rerank = len(inputs["gallery"]), settings.reranking
    most = min(rerank.top_k, count) if rerank else count
    asked = {"k": most} if rerank else {}

    task = needed(system, unchecked(system).retrieval)

    def evaluate(context: evaluation.Context) -> np.ndarray:
        scores = evaluation.evaluate(context, task, count, texts, settings)
        return (scores.video_to_text if most == count else scores.similarity)[:]

    encode = count * clip_macs(system) + text_macs(system, inputs)
    memory, pair = pair_macs(system, texts[0].shape[1]) if rerank else (0, 0)
    ours = encode + count * memory + count**2 * pair
    original = encode + 2 * count * most * (memory + pair)
    return [
        Case(
            f"evaluate {counted(count)}, {count} texts",
            "ours",
            _run(params, inputs, evaluate),
            macs=ours if most == count else None,
            clips=count,
            compiles=True,
            requests=requests_for("evaluate", system, clips=max(sizes.clips), **asked),
            original_macs=original,
        )
    ]


def questions(system: System, params: Params, inputs: Inputs, sizes: Sizes) -> list[Case]:
    """Ranks answers to questions about each of N videos; the stage `answer` times the original."""
    count, each = len(inputs["gallery"]), sizes.questions
    texts: Any = tuple(
        np.resize(inputs[name], (count * each, *inputs[name].shape[1:]))
        for name in ("text_ids", "text_mask")
    )
    names = tuple(map(str, range(count * each)))
    about = tuple(np.repeat(np.arange(count), each).tolist())
    asked = Questions(names[:count], names, names, about, ((),) * len(names), ())
    settings = replace(expect(system.config.eval, AnsweringOptions), batch_size=max(sizes.clips))
    task, answers = needed(system, unchecked(system).answering), inputs["answer_ids"]

    def evaluate(context: evaluation.Context) -> np.ndarray:
        return answering.evaluate(context, task, asked, texts, answers, settings).scores

    stage = f"evaluate {counted(count)}, {each} questions each"
    run = _run(params, inputs, evaluate)
    return [Case(stage, "ours", run, clips=count, compiles=True)]


def recognition(system: System, params: Params, inputs: Inputs, sizes: Sizes) -> list[Case]:
    """Evaluates action recognition of videos with one view each."""
    count, classes = len(inputs["gallery"]), expect(system.config.model, common.ActionModel).classes
    names = tuple(map(str, range(count)))
    task = needed(system, unchecked(system).recognition)

    def evaluate(context: evaluation.Context) -> np.ndarray:
        size = max(sizes.clips)
        recognised = actions.evaluate(
            context, task, names, views=1, classes=classes, batch_size=size
        )
        return recognised.scores

    return [
        Case(
            f"evaluate {counted(count)}, one view each",
            "ours",
            _run(params, inputs, evaluate),
            macs=count * clip_macs(system),
            clips=count,
            compiles=True,
            requests=requests_for("evaluate", system, clips=max(sizes.clips)),
        )
    ]


def _run(
    params: Params, inputs: Inputs, evaluate: Callable[[evaluation.Context], np.ndarray]
) -> Callable[[], Timed]:
    """A function that evaluates from the start, with a new store; it keeps compiled programs."""
    model = evaluation.Model(params, parallel.make_mesh(1))

    def batches(size: int, rows: np.ndarray) -> Iterator[Batch]:
        for first in range(0, len(rows), size):
            index = np.full(size, -1, np.int32)
            part = rows[first : first + size]
            index[: len(part)] = part
            mask, part = index >= 0, inputs["gallery"][part]
            video = part if mask.all() else np.resize(part, (size, *part.shape[1:]))
            yield {"video": video, "index": index, "mask": mask}

    def run() -> Timed:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            store = evaluation.Store(pathlib.Path(folder), {})
            context = evaluation.Context(model, batches, store, Stopwatch())
            start = time.perf_counter()
            values = evaluate(context)
            seconds = time.perf_counter() - start
            return Timed(seconds, np.array(values))  # the store's own goes with its folder

    return run
