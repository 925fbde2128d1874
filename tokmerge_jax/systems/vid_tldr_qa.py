"""vid-TLDR for video question answering: UMT, with a decoder that tells how likely answers are.

Source: vid-TLDR (CVPR 2024) on Unmasked Teacher (ICCV 2023); `docs/vid_tldr.md`.
"""

from functools import partial

from ml_collections import ConfigDict

from tokmerge_jax import runtime
from tokmerge_jax.convert.tables.vid_tldr_qa import rules
from tokmerge_jax.data import text
from tokmerge_jax.models.answerer import Answerer
from tokmerge_jax.models.bert import Bert
from tokmerge_jax.systems import answered, umt_vision
from tokmerge_jax.systems.inputs import checked
from tokmerge_jax.types import System


def build(config: ConfigDict) -> System:
    """The system of a question-answering configuration (`configs/base/vid_tldr_qa.py`), any size.

    Raises:
      UserError: naming the key whose value cannot work.
    """
    vision, bert = config.model.vision, config.model.text
    same_width = ("model.vision.width", "equal to", "model.text.width", vision.width == bert.width)
    umt_vision.check(config, same_width)  # one table of weights starts both kinds of layers
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


def _module(config: ConfigDict) -> Answerer:
    words, dtype = config.model.text, runtime.compute_dtype(config.dtype)
    settings = {"dropout": config.model.dropout, "remat": config.train.remat, "dtype": dtype}
    answering = {"depth": words.depth - words.fusion_layer, "fusion_layer": 0}
    return Answerer(
        vision=umt_vision.transformer(config),
        text=Bert(**words, **settings),
        decoder=Bert(**{**words, **answering}, predicts_words=True, **settings),
        dtype=dtype,
    )
