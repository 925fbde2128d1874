"""TESTA for video question answering: blocks merge frames, then patches; BLIP's decoder answers.

Source: TESTA (Findings of EMNLP 2023) on BLIP (ICML 2022); `docs/testa.md`.
"""

from dataclasses import replace
from functools import partial

from tokmerge_jax import runtime
from tokmerge_jax.checkpoints.tables.testa import answering_rules
from tokmerge_jax.config.testa import QuestionAnswering
from tokmerge_jax.data.text import tokenizers
from tokmerge_jax.models.answerer import Answerer
from tokmerge_jax.models.bert import Bert
from tokmerge_jax.system import System, Training
from tokmerge_jax.systems import answered, timesformer_vision

_QUESTION = replace(tokenizers.TESTA_QUESTION, start=tokenizers.ENCODE)
_ANSWER = replace(tokenizers.TESTA, start=tokenizers.DECODE)


def build(config: QuestionAnswering) -> System:
    """The system of a question-answering configuration (`config.testa`), any size.

    Raises:
      UserError: naming the key whose value cannot work.
    """
    bert = config.model.text
    timesformer_vision.check(config)
    network = _network(config)
    words = answered.words(config, _QUESTION, _ANSWER)
    writing = answered.writing(config, network, words.answers, config.eval)
    names = answering_rules(timesformer_vision.sizes(config), bert.depth)
    return System(
        name="testa_qa",
        config=config,
        network=network,
        weights=answered.weights(config, network, words, names),
        pixels=timesformer_vision.pixels_of(config),
        merging=timesformer_vision.merging_of(config),
        training=Training(
            answered.loss(network, timesformer_vision.pixels),
            partial(answered.collate, words, weight=config.train.answer_weight),
            timesformer_vision.optimizer_of(config),
        ),
        answering=answered.answering(config, network, timesformer_vision.pixels, words, writing),
        trace_video=timesformer_vision.tracer(config, network),
    )


def _network(config: QuestionAnswering) -> Answerer:
    dtype = runtime.compute_dtype(config.dtype)
    bert = partial(
        Bert,
        **vars(config.model.text),
        fusion_layer=0,
        token_types=0,
        dropout=config.model.dropout,
        remat=config.train.remat,
        dtype=dtype,
    )
    return Answerer(
        vision=timesformer_vision.transformer(config),
        text=bert(),
        decoder=bert(predicts_words=True),
        smoothing=config.model.label_smoothing,
        dtype=dtype,
    )
