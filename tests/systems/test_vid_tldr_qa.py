"""Question answering against the original: states, likelihoods, rankings, the training loss."""

import functools
import itertools
from typing import Any

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
import row_batches
import umt_case
from umt_case import close

from tokmerge_jax import evaluation, parallel
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.config.evaluation import AnsweringOptions
from tokmerge_jax.evaluation import answering
from tokmerge_jax.models.answerer import Answerer
from tokmerge_jax.runtime import Stopwatch
from tokmerge_jax.types import Questions

TINY = ["umtqa-tiny", "umtqa-tiny-off", "umtqa-tiny-shared"]


def clips(case):
    """All videos of a case are drawn from one seed, the one after its weights'."""
    ids = case.arrays["inputs/question_ids"]
    size, frames = case.config["vision"]["img_size"], case.config["frames"]
    seed = int(case.spec["inputs"]["video"].split("seed=")[1].split(")")[0])
    video = recipe.video((len(ids), frames, 3, size, size), seed=seed)
    return video.transpose(0, 1, 3, 4, 2)


def in_one_call(case, system, params):
    """States of the questions, and what every answer scores, from the networks' own functions."""
    video, ids = clips(case), jnp.asarray(case.arrays["inputs/question_ids"])
    answers = case.arrays["inputs/answer_ids"]
    module, mask = system.network, ids != 0
    assert isinstance(module, Answerer)

    def run(params, video):
        def call(method, *args) -> Any:
            return module.apply({"params": params}, *args, method=method)

        tokens = call("encode_video", video)
        states = call("read", call("memory", tokens), ids, mask)
        memory = call("answer_memory", states)
        rows = jnp.tile(jnp.asarray(answers), (len(ids), 1))
        likelihood = call("log_likelihood", memory, mask, rows).reshape(len(ids), -1)
        start = rows[:: len(answers), :1]
        see = jnp.ones((len(ids), 1, 1), bool)
        logits = call("next_words", memory, mask, start, see)[:, 0]
        first = jax.nn.log_softmax(logits)[:, answers[:, 1]]
        return tokens, states, first, likelihood

    return jax.jit(run)(params, video)


def rank(case, system, params, k, folder, batch_size=2, devices=1, about=None):
    """The ranking of the evaluation, as a user runs it."""
    video, ids = clips(case), case.arrays["inputs/question_ids"]
    about = tuple(range(len(ids))) if about is None else about
    names = tuple(str(i) for i in range(len(ids)))
    questions = Questions(names[: max(about) + 1], names, names, about, ((),) * len(ids), ())

    batches = functools.partial(row_batches.batches, video)

    model = evaluation.Model(params, parallel.make_mesh(devices))
    options = AnsweringOptions(batch_size=batch_size, top_k=k, memory_gib=1.0, first_piece=2)
    store = evaluation.Store(folder, {"k": k, "batch_size": batch_size, "devices": devices})
    texts, answers = (ids, ids != 0), case.arrays["inputs/answer_ids"]
    assert system.answering.vocabulary == case.config["text"]["vocab_size"]
    context = evaluation.Context(model, batches, store, Stopwatch())
    return answering.evaluate(context, system.answering, questions, texts, answers, options)


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_likelihoods_and_rankings(name, tmp_path):
    case = golden.load(name)
    system, params = umt_case.system_of(case)
    expected = case.arrays
    tokens, states, first, likelihood = in_one_call(case, system, params)
    close(tokens, expected["vision/tokens"])
    close(states, expected["question/states"])
    close(first, expected["answer/first_token_log_prob"])
    close(likelihood, expected["answer/log_likelihood"])
    for k in case.config["k"]:
        ranking = rank(case, system, params, k, tmp_path)
        np.testing.assert_array_equal(ranking.answers, expected[f"rank_k{k}/answer"])
        close(jax.nn.softmax(ranking.scores, axis=1), expected[f"rank_k{k}/prob"])


@pytest.mark.slow
def test_rankings_do_not_depend_on_devices_and_batches(tmp_path):
    case = golden.load("umtqa-tiny")
    system, params = umt_case.system_of(case)
    for devices, batch_size in ((8, 8), (1, 3)):
        ranking = rank(case, system, params, 20, tmp_path, batch_size, devices)
        np.testing.assert_array_equal(ranking.answers, case.arrays["rank_k20/answer"])


def losses(name):
    """A loss case, its system and parameters, and its batch of padded answers."""
    case = golden.load(name)
    system, params = umt_case.system_of(case)
    ids, flat = case.arrays["inputs/question_ids"], case.arrays["inputs/answer_ids"]
    counts = case.config["answers_per_question"]
    answers = np.zeros((len(counts), max(counts), flat.shape[1]), np.int32)
    weights = np.zeros((len(counts), max(counts)), np.float32)
    for row, (begin, end) in enumerate(itertools.pairwise(np.cumsum([0, *counts]))):
        answers[row, : end - begin] = flat[begin:end]
        weights[row, : end - begin] = case.config["weights"][begin:end]
    answers[..., 0] = flat[0, 0]
    batch = {
        "video": clips(case),
        "text_ids": ids[:, None],
        "text_mask": ids[:, None] != 0,
        "answer_ids": answers[:, None],
        "answer_weights": weights[:, None],
    }
    return case, system, params, batch


@pytest.mark.slow
@pytest.mark.parametrize("name", ["umtqa-loss", "umtqa-loss-off"])
def test_loss_and_gradients(name):
    case, system, params, batch = losses(name)
    assert system.training
    loss: Any = system.training.loss
    run = jax.jit(jax.value_and_grad(lambda p: loss(p, batch, jax.random.key(0), train=False)[0]))
    value, gradient = run(params)
    expected = case.arrays
    close(value, expected["loss"])
    gradient = rules.unload(system.weights.names[0], gradient)
    names = case.spec["gradient_names"]
    norms = np.array([np.linalg.norm(gradient[name]) for name in names])
    close(norms, expected["grad_norms"])
    close(np.linalg.norm(norms), expected["total_norm"])
    for key in (key for key in expected if key.startswith("grad/")):
        close(gradient[key.removeprefix("grad/")], expected[key])
