"""TESTA's question answering against the original: rankings, written answers, the training loss."""

import dataclasses
import functools
import itertools

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
import row_batches
import testa_case
from umt_case import close

import tokmerge_jax
from tokmerge_jax import evaluation, parallel
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.config import expect, testa
from tokmerge_jax.config.evaluation import GeneratingOptions
from tokmerge_jax.data.datasets import galleries
from tokmerge_jax.evaluation import answering, writing
from tokmerge_jax.models.answerer import log_probability
from tokmerge_jax.runtime import Stopwatch
from tokmerge_jax.systems.validation import unchecked
from tokmerge_jax.types import Questions, UserError

CASE = golden.load("testa-vqa")
FIRST = ("[PAD]", "[CLS]", "[SEP]", "word3", "word4", "[UNK]", "[MASK]")


def vocabulary(folder, size):
    """A vocabulary file whose special words have the goldens' ids, and no meaning otherwise."""
    words = [*FIRST, *(f"word{i}" for i in range(len(FIRST), size - 2))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return str(folder / "vocab.txt")


def system_of(case, folder):
    """The system of a case and its parameters."""
    words = {
        "vocabulary": vocabulary(folder, case.config["vocab"]),
        "max_text_length": case.config["question_len"],
        "max_answer_length": case.config.get("answer_len", 6),
    }
    config = testa_case.sized(testa.QuestionAnswering(), case).override({"data": words})
    system = unchecked(tokmerge_jax.build(config))
    return system, golden.parameters(system, case.weights())


def clips(case):
    """Normalised clips [B,T,H,W,3], one for each question."""
    sizes = case.config
    edge = sizes["image_size"]
    shape = (sizes["batch"], 3, sizes["num_frames"], edge, edge)
    return np.moveaxis(recipe.video(shape, case.spec["seed"]), 1, -1)


def questions_of(case):
    """Ids that begin with [ENC], and their mask."""
    ids = case.arrays["in/question_ids"].astype(np.int32)
    ids[:, 0] = case.config["vocab"] - 1
    return ids, case.arrays["in/question_mask"] > 0


def answers_of(case, name="in/answer_ids"):
    """Ids that begin with [DEC]."""
    ids = case.arrays[name].astype(np.int32)
    ids[:, 0] = case.config["vocab"] - 2
    return ids


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return system_of(CASE, tmp_path_factory.mktemp("vocabulary"))


def given(case, system, params, folder, batch_size, devices=1):
    """Returns the inputs of both ways of answering."""
    video, count = clips(case), case.config["batch"]
    names = tuple(map(str, range(count)))

    batches = functools.partial(row_batches.batches, video)

    model = evaluation.Model(params, parallel.make_mesh(devices))
    asked = Questions(names, names, names, tuple(range(count)), ((),) * count, ())
    sizes = {"batch_size": batch_size, "top_k": case.config.get("k_test", 1)}
    options = dataclasses.replace(system.config.eval, **sizes)
    context = evaluation.Context(model, batches, evaluation.Store(folder, {}), Stopwatch())
    return context, asked, questions_of(case), options


@pytest.mark.slow
def test_rankings_are_the_originals(small, tmp_path):
    system, params = small
    answers, first = answers_of(CASE), []
    assert system.answering
    assert system.answering.vocabulary == CASE.config["vocab"]

    def next_piece(params, memory, text_mask, *, ids, **tree):
        if ids.shape[1] == 1:  # what candidates are chosen by, without smoothing
            given = memory, text_mask[:, 0], ids, jnp.ones((len(ids), 1, 1), bool)
            logits = system.network.apply({"params": params}, *given, method="next_words")
            jax.debug.callback(first.append, jax.nn.softmax(logits[:, 0])[:, answers[:, 1]])
        return system.answering.next_piece(params, memory, text_mask, ids=ids, **tree)

    seen = dataclasses.replace(system.answering, next_piece=next_piece)
    context, asked, texts, options = given(CASE, system, params, tmp_path, batch_size=2)
    ranking = answering.evaluate(context, seen, asked, texts, answers, options)
    expected = CASE.arrays
    jax.effects_barrier()
    close(first[0], expected["first_token_prob"])
    best = np.argsort(-expected["topk_score"], axis=1)
    ids = np.take_along_axis(expected["topk_ids"], best, axis=1)
    np.testing.assert_array_equal(ranking.answers, ids)
    np.testing.assert_array_equal(ranking.answers[:, 0], expected["rank_answer"])
    close(ranking.scores, np.take_along_axis(expected["topk_score"], best, axis=1))


def written(case, system, params, folder, batch_size, devices=1):
    context, asked, texts, options = given(case, system, params, folder, batch_size, devices)
    writes = system.answering.writing
    assert writes.place_size == 2 * case.config["layers"] * case.config["hidden"]
    return writing.evaluate(context, system.answering, writes, asked, texts, options)


@pytest.mark.slow
def test_written_answers_are_the_originals(tmp_path):
    """Beams end early here; two batches on two devices, the last of them padded."""
    case = golden.load("testa-vqa-generate")
    system, params = system_of(case, tmp_path)
    options = expect(system.config.eval, GeneratingOptions)
    assert (options.beams, options.max_length) == (
        case.config["num_beams"],
        case.config["max_length"],
    )
    computed = written(case, system, params, tmp_path, batch_size=5, devices=2)
    np.testing.assert_array_equal(computed.ids, case.arrays["generated"])
    lengths = [computed.ids.shape[1]] * len(computed.ids)
    np.testing.assert_array_equal(lengths, case.arrays["generated_length"])
    assert (computed.scores < 0).all()
    assert system.answering
    assert system.answering.writing
    said = [" ".join(f"word{i}" for i in row if i in (3, 4)) for row in computed.ids]
    assert system.answering.writing.spell(computed.ids) == said
    assert said[2] == "word4 word3 word4"


@pytest.mark.slow
def test_long_written_answers_are_the_originals(small, tmp_path):
    system, params = small
    computed = written(CASE, system, params, tmp_path, batch_size=2)
    np.testing.assert_array_equal(computed.ids, CASE.arrays["generated"])


def training_batch():
    """The case's questions with their weighted answers, padded."""
    ids, mask = questions_of(CASE)
    flat, counts = answers_of(CASE, "in/train_answer_ids"), CASE.config["answers_per_question"]
    answers = np.zeros((len(counts), max(counts), flat.shape[1]), np.int32)
    weights = np.zeros((len(counts), max(counts)), np.float32)
    for row, (begin, end) in enumerate(itertools.pairwise(np.cumsum([0, *counts]))):
        answers[row, : end - begin] = flat[begin:end]
        weights[row, : end - begin] = CASE.config["answer_weights"][begin:end]
    answers[..., 0] = flat[0, 0]
    return {
        "video": clips(CASE),
        "text_ids": ids[:, None],
        "text_mask": mask[:, None],
        "answer_ids": answers[:, None],
        "answer_weights": weights[:, None],
    }


@pytest.mark.slow
def test_loss_and_gradients_are_the_originals(small):
    system, params = small
    batch, key = training_batch(), jax.random.key(0)

    def objective(params):
        value, _ = system.training.loss(params, batch, key, train=False)
        return value

    value, gradient = jax.jit(jax.value_and_grad(objective))(params)
    close(value, CASE.arrays["train_loss"])
    gradient = rules.unload(system.weights.names[0], gradient)
    norms = {k.removeprefix("grad/"): v for k, v in CASE.arrays.items() if k.startswith("grad/")}
    gradients = np.array([np.linalg.norm(gradient[name]) for name in norms])
    theirs = np.array([*norms.values()])
    np.testing.assert_allclose(gradients, theirs, rtol=1e-3, atol=1e-5 * theirs.max())


def test_training_reads_texts_as_the_original_does(small):
    system, _ = small
    row = galleries.AnswerRow("v.mp4", ("Word3: word4?",), (("word4",),), ((1.0,),))
    batch = system.training.collate([row, row])
    decode, encode = CASE.config["vocab"] - 2, CASE.config["vocab"] - 1
    np.testing.assert_array_equal(batch["text_ids"][1, 0], [encode, 3, 4, 5, 2, 0, 0, 0, 0])
    np.testing.assert_array_equal(batch["text_mask"][1, 0], np.arange(9) < 5)
    np.testing.assert_array_equal(batch["answer_ids"][1, 0, 0], [decode, 4, 2, 0, 0, 0])
    np.testing.assert_array_equal(batch["answer_weights"], np.full((2, 1, 1), 0.2, np.float32))


def test_smoothing_is_minus_the_cross_entropy_with_smoothed_labels():
    logits = np.random.default_rng(0).standard_normal((2, 3, 5), np.float32)
    places, words = np.array([[0, 2], [1, 1]]), np.array([[4, 0], [2, 3]])
    computed = log_probability(jnp.asarray(logits), jnp.asarray(places), jnp.asarray(words), 0.1)
    logs = np.asarray(jax.nn.log_softmax(logits))
    labels = 0.9 * np.eye(5)[words] + 0.1 / 5
    chosen = np.take_along_axis(logs, places[..., None], axis=1)
    np.testing.assert_allclose(computed, (labels * chosen).sum(axis=-1), rtol=1e-5)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("eval.answering", "write", "config.eval.answering='write' is unknown; use rank, generate"),
        ("eval.beams", 0, "config.eval.beams=0 must be 1 or more"),
        ("eval.max_length", 513, "must be at most config.model.text.max_positions=512"),
        ("data.max_answer_length", 600, "must be at most config.model.text.max_positions=512"),
        ("data.max_answer_length", 2, "config.data.max_answer_length=2 must be at least 3"),
        ("data.max_text_length", 2, "config.data.max_text_length=2 must be at least 3"),
        ("model.label_smoothing", 1.0, "config.model.label_smoothing=1.0 must be from 0 to below"),
        ("train.answer_weight", 0.0, "config.train.answer_weight=0.0 must be above 0"),
        ("model.vision.depth", 0, "config.model.vision.depth=0 must be at least 1"),
    ],
)
def test_what_cannot_work_is_reported(key, value, message):
    with pytest.raises(UserError, match=message):
        tokmerge_jax.build(testa.QuestionAnswering().override({key: value}))
