"""vid-TLDR for video question answering: UMT, with a decoder that tells how likely answers are.

Source: vid-TLDR (CVPR 2024) on Unmasked Teacher (ICCV 2023); `docs/vid_tldr.md`.
"""

from functools import partial

from tokmerge_jax import runtime
from tokmerge_jax.checkpoints.tables.vid_tldr_qa import rules
from tokmerge_jax.config.umt import QuestionAnswering
from tokmerge_jax.data.text import tokenizers
from tokmerge_jax.models.answerer import Answerer
from tokmerge_jax.models.bert import Bert
from tokmerge_jax.system import System, Training
from tokmerge_jax.systems import answered, umt_vision


def build(config: QuestionAnswering) -> System:
    """The system of a question-answering configuration (`config.umt`), any size.

    Raises:
      UserError: naming the key whose value cannot work.
    """
    vision, bert = config.model.vision, config.model.text
    network = _network(config)
    words = answered.words(config, tokenizers.UMT, tokenizers.UMT_ANSWER)
    names = rules(vision.depth, bert.depth, bert.fusion_layer)
    return System(
        name="vid_tldr_qa",
        config=config,
        network=network,
        weights=answered.weights(config, network, words, names),
        pixels=umt_vision.pixels_of(config),
        merging=umt_vision.merging_of(config),
        training=Training(
            answered.loss(network, umt_vision.pixels),
            partial(answered.collate, words),
            umt_vision.optimizer_of(config),
        ),
        answering=answered.answering(config, network, umt_vision.pixels, words),
        trace_video=umt_vision.tracer(config, network),
    )


def _network(config: QuestionAnswering) -> Answerer:
    words, dtype = config.model.text, runtime.compute_dtype(config.dtype)
    settings = {"dropout": config.model.dropout, "remat": config.train.remat, "dtype": dtype}
    answering = {"depth": words.depth - words.fusion_layer, "fusion_layer": 0}
    return Answerer(
        vision=umt_vision.transformer(config),
        text=Bert(**vars(words), **settings),
        decoder=Bert(**{**vars(words), **answering}, predicts_words=True, **settings),
        dtype=dtype,
    )
