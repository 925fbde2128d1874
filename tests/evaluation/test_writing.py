"""Every question gets the answer that is written for it; its spelling tells whether it is right."""

import golden
import jax.numpy as jnp
import numpy as np
import pytest
import small_questions
from small_questions import ABOUT, IDS, MASK, PARAMS, PREDICT, QUESTIONS, VIDEO, WORDS

from configs import testa_anet_qa_f32
from tokmerge_jax import evaluation, parallel
from tokmerge_jax.data import text
from tokmerge_jax.evaluation import answering, findings, report, writing
from tokmerge_jax.evaluation.writing import Written
from tokmerge_jax.runtime import Stopwatch
from tokmerge_jax.types import Questions

LENGTH = 4


def write(params, memory):
    """Not a text, but what depends on the question alone."""
    order = jnp.argsort(-(memory @ params["head"]), axis=1)[:, :LENGTH]
    return {"ids": order.astype(jnp.int32), "score": memory.sum(axis=1)}


def run(folder, source=small_questions.batches, devices=1, batch_size=3):
    model = evaluation.Model(
        {**PREDICT, "write": write}, PARAMS, parallel.make_mesh({"data": devices})
    )
    options = answering.Options(
        batch_size=batch_size, top_k=1, memory_gib=1.0, answering="generate", max_length=LENGTH
    )
    store = evaluation.Store(folder, {"questions": "small"})
    texts = IDS, MASK
    return writing.evaluate(model, source, QUESTIONS, texts, WORDS, options, store, Stopwatch())


def check(found):
    states = VIDEO[list(ABOUT)].mean(1) + PARAMS["word"][IDS].sum(1)
    order = np.argsort(-(states @ PARAMS["head"]), axis=1)[:, :LENGTH]
    np.testing.assert_array_equal(found.ids, order)
    np.testing.assert_allclose(found.scores, states.sum(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("devices", "batch_size"), [(1, 3), (8, 8)])
def test_each_question_has_its_own_answer(tmp_path, devices, batch_size):
    check(run(tmp_path, devices=devices, batch_size=batch_size))


def test_it_goes_on_where_it_was(tmp_path):
    def crash(size, start):
        for batch in small_questions.batches(size, start):
            if batch["index"][0] >= 4:
                raise OSError("no more videos")
            yield batch

    with pytest.raises(OSError, match="no more videos"):
        run(tmp_path, source=crash, batch_size=2)
    starts = []

    def source(size, start):
        starts.append(start)
        return small_questions.batches(size, start)

    check(run(tmp_path, source=source, batch_size=2))
    assert starts == [5]  # the video of the first question without an answer


def asked(ids, truths):
    count = len(ids)
    return Questions(("v",), ids, ("is it?",) * count, (0,) * count, truths, ("yes",))


def test_accuracy_and_protocol_of_the_original():
    """Exact strings. What stands twice in the case was given by two processes, once each."""
    case = golden.load("testa-metrics").spec["vqa_accuracy"]
    given = {row["question_id"]: row["answer"] for row in reversed(case["predictions"])}
    truths = tuple((row["answer"],) for row in case["annotation"])
    ids = tuple(map(str, range(len(truths))))
    predicted = [given[int(name)] for name in ids]
    found = Written(np.zeros((len(ids), LENGTH), np.int32), np.zeros(len(ids), np.float32), None)
    config = testa_anet_qa_f32.get_config()
    result = findings.written(found, predicted, asked(ids, truths), config, [])
    assert f"{result.headline[1]}%" == case["result"]["acc"]
    assert result.protocol["answering"] == "generate"
    assert result.protocol["beams"] == 3
    assert "answers" not in result.protocol  # there is no list
    rows = {
        "name": "run",
        "scores": result.scores,
        "protocol": result.protocol,
        "clips_per_second": None,
        "gmac": 1.0,
        "gflop": 2.0,
    }
    assert "answers written, of at most 10 pieces, 3 beams" in str(report.table(rows).caption)
    ranked = findings.answers(
        answering.Ranking(np.zeros((6, 1), np.int32), np.zeros((6, 1), np.float32), None),
        asked(ids, truths),
        config,
        [],
    )
    assert ranked.protocol["answering"] == "rank"
    assert ranked.protocol["score"] == "log p(answer), labels smoothed 0.1"


@pytest.mark.parametrize(
    ("said", "spelled"),
    [
        ("playing football", "playing football"),
        ("[DEC] two [SEP] [PAD]", "two"),
        ("[UNK] dog", "dog"),
        ("don ' t , mr . x", "don't, mr. x"),
        ("unbelievablyness", "unbelievablyness"),  # in three pieces
        ("", ""),
    ],
)
def test_word_pieces_are_spelled_as_the_original_does(said, spelled):
    engine = text.word_pieces_with_modes("bert-base-uncased")
    special = {t: engine.id_of(t) for t in ("[DEC]", "[SEP]", "[PAD]", "[UNK]")}
    ids = [
        piece
        for word in said.split()
        for piece in ([special[word]] if word in special else engine.ids_of([word])[0])
    ]
    assert text.spell("bert-base-uncased", np.array([ids], np.int32).reshape(1, -1)) == [spelled]
