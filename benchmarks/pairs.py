"""The stages of `stages.py` that read texts with a video: re-ranking and answering."""

import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from benchmarks.cases import Case, Inputs, Sizes, Timed, compiled
from benchmarks.encoding import text_layer_macs
from benchmarks.inputs import ANSWER_LENGTH
from benchmarks.peer import requests_for
from tokmerge_jax import evaluation, parallel
from tokmerge_jax.config import expect, umt
from tokmerge_jax.config.common import Text, TextModel
from tokmerge_jax.config.evaluation import AnsweringOptions
from tokmerge_jax.evaluation import answering
from tokmerge_jax.evaluation.answers import Answers
from tokmerge_jax.models.answerer import Answerer
from tokmerge_jax.system import System
from tokmerge_jax.systems.matching import run
from tokmerge_jax.tasks.synthetic import needed
from tokmerge_jax.types import Params

T = TypeVar("T")

_TOGETHER = 8  # questions that are answered by a call, as in an evaluation
_PAIRS = 32  # timed where each pair is scored anew: a batch of the original's evaluation


def rerank(system: System, params: Params, inputs: Inputs, sizes: Sizes) -> list[Case]:
    """Matches all texts with one video: with shared keys and values, and pair by pair."""
    del sizes
    (count, length, _), tokens = inputs["states"].shape, inputs["tokens"]
    states, mask = inputs["states"][None], inputs["text_mask"][None]
    stage = f"re-rank {count} x {count}"
    matching = needed(system, needed(system, system.retrieval).matching)

    def shared(params: Params, tokens: jax.Array, states: jax.Array, mask: jax.Array) -> jax.Array:
        memory = matching.video_memory(params, tokens)
        return matching.match(params, memory, states, mask)

    memory, pair = pair_macs(system, length)
    pairs = min(_PAIRS, count)
    anew = np.repeat(tokens, pairs, 0), states[0, :pairs, None], mask[0, :pairs, None]
    return [
        compiled(
            stage,
            "ours",
            shared,
            (params, tokens, states, mask),
            memory + count * pair,
            runs=count,
        ),
        compiled(
            stage,
            "each pair, direction anew",
            shared,
            (params, *anew),
            pairs * (memory + pair),
            runs=2 * count**2 / pairs,
            requests=requests_for("rerank", system, pairs=pairs),
        ),
    ]


def pair_macs(system: System, length: int) -> tuple[int, int]:
    """Returns MACs of (projecting a video's K/V, matching one text of `length` tokens)."""
    words, tokens = expect(system.config.model, TextModel).text, system.merging.cost[-1].tokens_out
    fusing = words.depth - (words.fusion_layer if isinstance(words, umt.Text) else 0)
    memory = 2 * fusing * tokens * system.config.model.vision.width * words.width
    full, last = (_fusion_layer_macs(words, length, rows, tokens) for rows in (length, 1))
    return memory, (fusing - 1) * full + last


def answer(system: System, params: Params, inputs: Inputs, sizes: Sizes) -> list[Case]:
    """Answers all questions about a video: as the evaluation does, and one by one."""
    count, listed = sizes.questions, len(inputs["answer_ids"])
    most = min(expect(system.config.eval, AnsweringOptions).top_k, listed)
    stage = f"{count} questions, {listed} answers, {most} whole"
    texts = inputs["text_ids"], inputs["text_mask"]
    ids, mask = (np.resize(array, (count, *array.shape[1:])) for array in texts)
    return [
        _shared_case(stage, system, params, inputs, (ids, mask), most),
        _pairwise_case(stage, system, params, inputs, (ids, mask), most),
    ]


def _shared_case(
    stage: str,
    system: System,
    params: Params,
    inputs: Inputs,
    texts: tuple[np.ndarray, np.ndarray],
    most: int,
) -> Case:
    """Answers as an evaluation does: what the answers have in common is read once."""
    model = evaluation.Model(params, parallel.make_mesh(1))
    task, answers = needed(system, system.answering), Answers(inputs["answer_ids"])
    first_piece = expect(system.config.eval, AnsweringOptions).first_piece
    remember = model.compiled(task.video_memory)
    ranker = answering.Ranker(model, task, texts, answers, most, first_piece)
    count = len(texts[0])
    together = _TOGETHER if count % _TOGETHER == 0 else count
    asked = np.arange(count).reshape(1, -1, together)

    def run() -> Timed:
        start = time.perf_counter()
        memory = remember(inputs["tokens"])
        scores = [ranker(memory, asked[:, part])[1] for part in range(asked.shape[1])]
        return Timed(time.perf_counter() - start, np.concatenate(scores, axis=1)[0, 0])

    each = _answering_macs(system, inputs)
    nodes = len(answers.tree(np.arange(most)).ids)
    macs = each.video + count * (each.question + each.memory + nodes * each.piece)
    return Case(stage, "ours", run, macs, compiles=True)


def _pairwise_case(
    stage: str,
    system: System,
    params: Params,
    inputs: Inputs,
    texts: tuple[np.ndarray, np.ndarray],
    most: int,
) -> Case:
    """Answers one question at a time, and reads each of its best answers whole."""
    ids, mask = (array[:1, None] for array in texts)
    each = _answering_macs(system, inputs)
    answers = most * ANSWER_LENGTH * each.piece
    return compiled(
        stage,
        "each question and answer anew",
        _pairwise_answer(system, params, most),
        (params, inputs["tokens"], ids, mask, inputs["answer_ids"]),
        each.video + each.question + (most + 1) * each.memory + answers,
        runs=len(texts[0]),
        requests=requests_for("answer", system, k=most),
    )


def _pairwise_answer(system: System, params: Params, most: int) -> Callable[..., jax.Array]:
    """Returns a function that scores whole answers and repeats the states for each."""
    network = system.network
    assert isinstance(network, Answerer)

    def answer(
        params: Params, tokens: jax.Array, ids: jax.Array, mask: jax.Array, answers: jax.Array
    ) -> jax.Array:
        def call(method: Callable[..., T], *arrays: PyTree) -> T:
            return run(network, method, params, *arrays)

        states = call(network.read, call(network.memory, tokens), ids[0], mask[0])
        see, memory = jnp.ones((1, 1, 1), bool), call(network.answer_memory, states)
        logits = call(network.next_words, memory, mask[0], answers[:1, :1], see)
        first, kept = jax.lax.top_k(jax.nn.log_softmax(logits[0, 0])[answers[:, 1]], most)
        repeated = [jnp.repeat(x, most, axis=0) for x in (states, mask[0])]
        memory = call(network.answer_memory, repeated[0])
        whole = call(network.log_likelihood, memory, repeated[1], answers[kept])
        return jax.lax.top_k(first + whole, most)[0]

    return answer


class _AnsweringMacs(NamedTuple):
    """MACs of a video's K/V, of a question, of a question's K/V, of a position of an answer."""

    video: int
    question: int
    memory: int
    piece: int


def _answering_macs(system: System, inputs: Inputs) -> _AnsweringMacs:
    words, (_, tokens, width) = expect(system.config.model, umt.Model).text, inputs["tokens"].shape
    length, deep = inputs["text_ids"].shape[1], words.depth - words.fusion_layer
    question = words.fusion_layer * text_layer_macs(words, length, length)
    question += deep * _fusion_layer_macs(words, length, length, tokens)
    layer = (
        text_layer_macs(words, ANSWER_LENGTH, ANSWER_LENGTH) // ANSWER_LENGTH
        + 2 * words.width**2
        + 2 * length * words.width
    )
    return _AnsweringMacs(
        video=2 * deep * tokens * width * words.width,
        question=question,
        memory=2 * deep * length * words.width**2,
        piece=deep * layer + words.width**2 + words.width * words.vocab_size,
    )


def _fusion_layer_macs(words: Text, length: int, rows: int, tokens: int) -> int:
    """Returns `text_layer_macs` plus those of cross-attention to the K/V of `tokens` tokens."""
    cross = 2 * rows * words.width**2 + 2 * rows * tokens * words.width
    return text_layer_macs(words, length, rows) + cross
