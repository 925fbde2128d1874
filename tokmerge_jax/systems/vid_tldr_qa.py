"""vid-TLDR for video question answering: UMT, with a decoder that tells how likely answers are.

Source: vid-TLDR (CVPR 2024) on Unmasked Teacher (ICCV 2023); `docs/vid_tldr.md`.
"""

from functools import partial

from tokmerge_jax import runtime
from tokmerge_jax.config.umt import QuestionAnswering
from tokmerge_jax.convert.tables.vid_tldr_qa import rules
from tokmerge_jax.data import text
from tokmerge_jax.models.answerer import Answerer
from tokmerge_jax.models.bert import Bert
from tokmerge_jax.systems import answered, umt_vision
from tokmerge_jax.systems.inputs import checked
from tokmerge_jax.types import System


def build(config: QuestionAnswering) -> System:
    """The system of a question-answering configuration (`config.umt`), any size.

    Raises:
      UserError: naming the key whose value cannot work.
    """
    vision, bert = config.model.vision, config.model.text
    module = _module(config)
    words = answered.words(config, text.UMT, text.UMT_ANSWER)
    functions = answered.functions(module, umt_vision.pixels)
    return System(
        name="vid_tldr_qa",
        predict=checked(config, {**functions, "trace_video": umt_vision.tracer(module)}),
        loss=answered.loss(module, umt_vision.pixels),
        name_rules=rules(vision.depth, bert.depth, bert.fusion_layer),
        collate=partial(answered.collate, words),
        **answered.fields(config, module, words),
        **umt_vision.fields(config),
    )


def _module(config: QuestionAnswering) -> Answerer:
    words, dtype = config.model.text, runtime.compute_dtype(config.dtype)
    settings = {"dropout": config.model.dropout, "remat": config.train.remat, "dtype": dtype}
    answering = {"depth": words.depth - words.fusion_layer, "fusion_layer": 0}
    return Answerer(
        vision=umt_vision.transformer(config),
        text=Bert(**vars(words), **settings),
        decoder=Bert(**{**vars(words), **answering}, predicts_words=True, **settings),
        dtype=dtype,
    )
