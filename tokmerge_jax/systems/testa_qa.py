"""TESTA for video question answering: blocks merge frames, then patches; BLIP's decoder answers.

Source: TESTA (Findings of EMNLP 2023) on BLIP (ICML 2022); `docs/testa.md`.
"""

from dataclasses import replace
from functools import partial

from tokmerge_jax import runtime
from tokmerge_jax.config.testa import QuestionAnswering
from tokmerge_jax.convert.tables.testa import answering_rules
from tokmerge_jax.data import text
from tokmerge_jax.models.answerer import Answerer
from tokmerge_jax.models.bert import Bert
from tokmerge_jax.systems import answered, timesformer_vision
from tokmerge_jax.systems.inputs import checked
from tokmerge_jax.types import System

_QUESTION = replace(text.TESTA_QUESTION, start=text.ENCODE)
_ANSWER = replace(text.TESTA, start=text.DECODE)


def build(config: QuestionAnswering) -> System:
    """The system of a question-answering configuration (`config.testa`), any size.

    Raises:
      UserError: naming the key whose value cannot work.
    """
    bert = config.model.text
    timesformer_vision.check(config)
    module = _module(config)
    words = answered.words(config, _QUESTION, _ANSWER)
    return System(
        name="testa_qa",
        predict=checked(
            config,
            {
                **answered.functions(module, timesformer_vision.pixels),
                "write": answered.writer(module, words.answers, config.eval),
                **timesformer_vision.tracer(module),
            },
        ),
        loss=answered.loss(module, timesformer_vision.pixels),
        name_rules=answering_rules(timesformer_vision.sizes(config), bert.depth),
        collate=partial(answered.collate, words, weight=config.train.answer_weight),
        spell=partial(text.spell, config.data.vocabulary),
        **answered.fields(config, module, words),
        **timesformer_vision.fields(config),
    )


def _module(config: QuestionAnswering) -> Answerer:
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
