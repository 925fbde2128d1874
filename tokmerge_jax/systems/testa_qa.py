"""TESTA for video question answering: blocks merge frames, then patches; BLIP's decoder answers.

Source: TESTA (Findings of EMNLP 2023) on BLIP (ICML 2022); `docs/testa.md`.
"""

from dataclasses import replace
from functools import partial

from ml_collections import ConfigDict

from tokmerge_jax import runtime
from tokmerge_jax.convert.tables.testa import answering_rules
from tokmerge_jax.data import text
from tokmerge_jax.evaluation.answering import Options
from tokmerge_jax.models.answerer import Answerer
from tokmerge_jax.models.bert import Bert
from tokmerge_jax.systems import answered, checks, timesformer_vision
from tokmerge_jax.systems.inputs import checked
from tokmerge_jax.types import System, UserError

_QUESTION = replace(text.TESTA_QUESTION, start=text.ENCODE)
_ANSWER = replace(text.TESTA, start=text.DECODE)


def build(config: ConfigDict) -> System:
    """The system of a question-answering configuration (`configs/base/testa_qa.py`), any size.

    Raises:
      UserError: naming the key whose value cannot work.
    """
    bert = config.model.text
    _check(config)
    options, module = Options(**config.eval), _module(config)
    words = answered.words(config, _QUESTION, _ANSWER)
    return System(
        name="testa_qa",
        predict=checked(
            config,
            {
                **answered.functions(module, timesformer_vision.pixels),
                "write": answered.writer(module, words.answers, options),
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


def _check(config: ConfigDict) -> None:
    timesformer_vision.check(config)
    fits = config.eval.max_length <= config.model.text.max_positions
    checks.relations(config, ("eval.max_length", "at most", "model.text.max_positions", fits))
    smoothing, weight = config.model.label_smoothing, config.train.answer_weight
    if not 0 <= smoothing < 1:
        raise UserError(f"config.model.label_smoothing={smoothing} must be from 0 to below 1")
    if weight <= 0:
        raise UserError(f"config.train.answer_weight={weight} must be above 0")


def _module(config: ConfigDict) -> Answerer:
    dtype = runtime.compute_dtype(config.dtype)
    bert = partial(
        Bert,
        **config.model.text,
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
