"""Every question gets the answer that is written for it; its spelling tells whether it is right."""

import dataclasses

import annotation_files
import golden
import jax.numpy as jnp
import numpy as np
import pytest
import small_questions
import vocabularies
from small_questions import ABOUT, ANSWERING, IDS, MASK, PARAMS, QUESTIONS, VIDEO, WORDS

from tokmerge_jax import evaluation, parallel
from tokmerge_jax.config.evaluation import GeneratingOptions
from tokmerge_jax.configs import testa_anet_qa_f32
from tokmerge_jax.data.datasets import testa
from tokmerge_jax.data.datasets.video_text import Question
from tokmerge_jax.data.text import tokenizers
from tokmerge_jax.evaluation import answering, outcomes, report, writing
from tokmerge_jax.evaluation.writing import WrittenAnswers
from tokmerge_jax.runtime import Stopwatch
from tokmerge_jax.system import Writing
from tokmerge_jax.types import Questions, UserError

LENGTH, PLACE = 4, 100  # ids of an answer; numbers that a decoder would keep of each


def write(params, memory, key=None):
    """Not a text, but what depends on the question alone."""
    del key
    order = jnp.argsort(-(memory @ params["head"]), axis=1)[:, :LENGTH]
    return {"ids": order.astype(jnp.int32), "score": memory.sum(axis=1)}


def run(
    folder,
    source=small_questions.batches,
    devices=1,
    batch_size=3,
    gib=1.0,
    write=write,
    **functions,
):
    model = evaluation.Model(PARAMS, parallel.make_mesh(devices))
    options = GeneratingOptions(
        batch_size=batch_size,
        top_k=1,
        memory_gib=gib,
        first_piece=1,
        answering="generate",
        beams=2,
        max_length=LENGTH,
    )
    store = evaluation.Store(folder, {"questions": "small"})
    texts = np.pad(IDS, ((0, 0), (0, 3))), np.pad(MASK, ((0, 0), (0, 3)))
    context = evaluation.Context(model, source, store, Stopwatch())
    task = dataclasses.replace(ANSWERING, **functions)
    writes = Writing(write, lambda ids: [""] * len(ids), PLACE)
    return writing.evaluate(context, task, writes, QUESTIONS, texts, options)


def check(written):
    states = VIDEO[list(ABOUT)].mean(1) + PARAMS["word"][IDS].sum(1)
    order = np.argsort(-(states @ PARAMS["head"]), axis=1)[:, :LENGTH]
    np.testing.assert_array_equal(written.ids, order)
    np.testing.assert_allclose(written.scores, states.sum(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("devices", "batch_size"), [(1, 3), (8, 8)])
def test_each_question_has_its_own_answer(tmp_path, devices, batch_size):
    check(run(tmp_path, devices=devices, batch_size=batch_size))


def test_what_is_no_number_is_no_score(tmp_path):
    def broken(params, memory, key=None):
        return {**write(params, memory), "score": jnp.full(len(memory), -jnp.inf)}

    with pytest.raises(UserError, match="score of an answer of question 0 is -inf"):
        run(tmp_path, write=broken)


def test_it_goes_on_where_it_was(tmp_path):
    def crash(size, rows):
        for batch in small_questions.batches(size, rows):
            if batch["index"][0] >= 4:
                raise OSError("no more videos")
            yield batch

    with pytest.raises(OSError, match="no more videos"):
        run(tmp_path, source=crash, batch_size=2)
    starts = []

    def source(size, rows):
        starts.append(rows.tolist())
        return small_questions.batches(size, rows)

    check(run(tmp_path, source=source, batch_size=2))
    assert starts == [[6]]  # 0, 1, 3 and 5 have their answers; 2 and 4 no question


def test_questions_are_padded_to_the_longest(tmp_path):
    """A question that looks at its padding too, as writing does."""

    def read(params, memory, ids, mask):
        states = memory[:, None] + params["word"][ids].sum(2)
        return states.reshape(-1, states.shape[-1])

    written = run(tmp_path, read=read)
    assert written.padded_to == IDS.shape[1]
    check(written)


def test_keys_and_values_count_in_the_memory(tmp_path):
    sizes = []

    def source(size, rows):
        sizes.append(size)
        return small_questions.batches(size, rows)

    question = 3 * 2 * WORDS + (IDS.shape[1] + 2 * 2 * LENGTH) * PLACE
    check(run(tmp_path / "two", source=source, gib=4 * 2 * question / 2**30))
    assert sizes == [2]
    with pytest.raises(UserError, match=r"is too little .* the beams \(config.eval.beams\)"):
        run(tmp_path / "none", gib=4 * (question - 1) / 2**30)


def asked(ids, truths):
    count = len(ids)
    return Questions(("v",), ids, ("is it?",) * count, (0,) * count, truths, ("yes",))


def test_accuracy_and_protocol_of_the_original(tmp_path, capsys):
    """Exact strings; of what stands twice in the case, the first counts."""
    case = golden.load("testa-metrics").spec["vqa_accuracy"]
    rows = [
        {"question_id": str(row["question_id"]), "video_name": "a", "question": row["answer"]}
        for row in case["predictions"]  # a question asks for its prediction
    ]
    truth = [{"question_id": str(i), **row} for i, row in enumerate(case["annotation"])]
    annotation_files.write(tmp_path, {"test_q.json": rows, "test_a.json": truth})
    records = testa.read("anet_qa", "test", tmp_path, tmp_path)
    told = f"{tmp_path}/test_q.json: left out 1 rows with a repeated question_id\n"
    assert capsys.readouterr().err == told
    ids, truths = (tuple(getattr(record, name) for record in records) for name in ("id", "answers"))
    predicted = [record.question for record in records if isinstance(record, Question)]
    written = WrittenAnswers(
        np.zeros((len(ids), LENGTH), np.int32), np.zeros(len(ids), np.float32), 12, None
    )
    config = testa_anet_qa_f32.get_config().resolved()
    result = outcomes.written(written, predicted, asked(ids, truths), config, [])
    assert f"{result.headline[1]}%" == case["result"]["acc"]
    assert result.protocol["answering"] == "generate"
    assert result.protocol["beams"] == 3
    assert result.protocol["question_padding"] == "attended to, up to 12 pieces"
    assert result.protocol["decode_size"] == 224
    assert "answers" not in result.protocol  # there is no list
    rows = {
        "name": "run",
        "scores": result.scores,
        "protocol": result.protocol,
        "clips_per_second": None,
        "gmac": 1.0,
        "gflop": 2.0,
    }
    assert "generated answers of at most 10 pieces, 3 beams" in str(report.table(rows).caption)
    ranked = outcomes.answers(
        answering.Ranking(np.zeros((6, 1), np.int32), np.zeros((6, 1), np.float32), None),
        asked(ids, truths),
        config,
        [],
    )
    assert ranked.protocol["answering"] == "rank"
    assert ranked.protocol["score"] == "log p(answer), labels smoothed 0.1"


@vocabularies.real
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
    engine = tokenizers.word_pieces_with_modes("bert-base-uncased")
    special = {t: engine.id_of(t) for t in ("[DEC]", "[SEP]", "[PAD]", "[UNK]")}
    ids = [
        piece
        for word in said.split()
        for piece in ([special[word]] if word in special else engine.ids_of([word])[0])
    ]
    assert tokenizers.spell("bert-base-uncased", np.array([ids], np.int32).reshape(1, -1)) == [
        spelled
    ]
