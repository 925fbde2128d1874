"""TESTA for video question answering: BLIP's decoder scores or writes the answers.

Source: TESTA (Findings of EMNLP 2023) on BLIP (ICML 2022); `docs/testa.md`.
"""

from dataclasses import replace
from functools import partial

from tokmerge_jax.checkpoints.tables.testa import answering_rules
from tokmerge_jax.config.testa import QuestionAnswering
from tokmerge_jax.data.text.tokenizers import DECODE, ENCODE, TESTA, TESTA_QUESTION
from tokmerge_jax.models.answerer import Answerer
from tokmerge_jax.models.bert import Bert
from tokmerge_jax.system import System, Training
from tokmerge_jax.systems import question_answering
from tokmerge_jax.systems.towers.timesformer import TimeSformerTower
from tokmerge_jax.training import optimizer
from tokmerge_jax.training.objectives import answers, bound

_QUESTION = replace(TESTA_QUESTION, start=ENCODE)
_ANSWER = replace(TESTA, start=DECODE)


def build(config: QuestionAnswering) -> System:
    """Builds the system of a question-answering configuration (`config.testa`), of any size.

    Raises:
      UserError: if a value is invalid; the message names its key.
    """
    tower = TimeSformerTower(config)
    network = _network(tower, config)
    text = config.model.text
    tokenizers = question_answering.tokenizers_of(config.data, text.vocab_size, _QUESTION, _ANSWER)
    writing = question_answering.writing(network, tokenizers.answers, config.eval)
    names = answering_rules(tower.sizes, text.depth)
    return System(
        name="testa_qa",
        config=config,
        network=network,
        weights=question_answering.weights(tower, network, tokenizers, names),
        pixels=tower.pixels,
        merging=tower.merging,
        training=Training(
            partial(answers.likelihood, bound(network), normalise=tower.normalise),
            partial(question_answering.collate, tokenizers, weight=config.train.answer_weight),
            partial(optimizer.adamw, weight_decay=config.train.weight_decay, mask=None),
        ),
        answering=question_answering.answering(tower, network, tokenizers, writing),
        trace_video=tower.trace,
    )


def _network(tower: TimeSformerTower, config: QuestionAnswering) -> Answerer:
    bert = partial(
        Bert,
        **vars(config.model.text),
        fusion_layer=0,
        token_types=0,
        dropout=config.model.dropout,
        remat=config.train.remat,
        dtype=tower.dtype,
    )
    return Answerer(
        vision=tower.network,
        text=bert(),
        decoder=bert(predicts_words=True),
        smoothing=config.model.label_smoothing,
        dtype=tower.dtype,
    )
