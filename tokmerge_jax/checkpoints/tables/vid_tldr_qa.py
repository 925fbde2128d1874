"""UMT's question-answering checkpoints, and those that its fine-tuning may start from."""

import dataclasses
import re

import numpy as np

from tokmerge_jax.checkpoints.rules import Rule, RuleSet
from tokmerge_jax.checkpoints.tables import bert
from tokmerge_jax.checkpoints.tables.shared import shared
from tokmerge_jax.checkpoints.tables.vid_tldr import IGNORED, RENAMES, starts, vision

_HEAD = "decoder/word_head"
_RETRIEVAL = (
    r"vision_proj\.",
    r"text_proj\.",
    r"itm_head\.",
    r"temp$",
    r"vision_encoder\.pool_norm\.",
)


def rules(depth: int, text_depth: int, fusion_layer: int) -> tuple[RuleSet, ...]:
    """The tables for UMT's question answering, by kind of checkpoint.

    Fine-tuned for the task; pretrained, whose fusion layers, word table and head initialise the
    decoder; of videos alone; fine-tuned for retrieval, which is like pretrained but without the
    head.
    """
    decoder = "text_decoder.bert"
    head = bert.word_head("text_decoder.cls.predictions", _HEAD)
    encoders = (
        *vision("vision_encoder.encoder.", "vision", depth),
        *bert.rules("text_encoder", "text", text_depth, fusion_layer),
    )
    decoders = bert.rules(decoder, "decoder", text_depth - fusion_layer, 0)
    fine_tuned = RuleSet(
        rules=(*encoders, *decoders, *head),
        ignored=IGNORED,
        renames=RENAMES,
        tied=bert.tied("text_decoder.cls.predictions", f"{decoder}.embeddings"),
        marker=r"text_decoder\.",
    )
    copied = tuple(_from_encoder(rule, fusion_layer) for rule in (*decoders, *head))
    pretrained = dataclasses.replace(
        fine_tuned,
        rules=shared((*encoders, *copied)),
        ignored=(*IGNORED, *_RETRIEVAL),
        tied=bert.tied("text_encoder.cls.predictions", "text_encoder.embeddings"),
        marker=r"text_encoder\.cls\.",
    )
    retrieval = dataclasses.replace(
        pretrained,
        rules=shared((*encoders, *copied[: -len(head)])),
        tied={},
        fresh={
            f"{_HEAD}/transform/kernel": lambda shape: (  # as BERT begins, always the same draw
                np.random.default_rng(0).normal(0, 0.02, shape).astype(np.float32)
            ),
            f"{_HEAD}/transform/bias": np.zeros,
            f"{_HEAD}/norm/scale": np.ones,
            f"{_HEAD}/norm/bias": np.zeros,
            f"{_HEAD}/bias": np.zeros,
        },
    )
    return fine_tuned, pretrained, *starts(fine_tuned), retrieval


def _from_encoder(rule: Rule, fusion_layer: int) -> Rule:
    """A decoder's rule that reads the corresponding parameter of the text encoder."""
    source = re.sub(r"^text_decoder\.(bert\.)?", "text_encoder.", rule.source)
    layer = re.search(r"\.layer\.(\d+)\.", source)
    if layer:
        source = source.replace(layer[0], f".layer.{int(layer[1]) + fusion_layer}.")
    return dataclasses.replace(rule, source=source)
