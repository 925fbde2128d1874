"""TESTA's checkpoints for retrieval and question answering, and BLIP's, from which both start.

Checkpoints of another resolution or number of frames fit: their position tables are resized.
"""

import dataclasses
import re

import numpy as np

from tokmerge_jax.checkpoints.operations import (
    Patches,
    ResizeGrid,
    ResizeTimes,
    Split,
    SplitVector,
    Squeeze,
)
from tokmerge_jax.checkpoints.rules import Rule, RuleSet, each
from tokmerge_jax.checkpoints.tables import bert
from tokmerge_jax.checkpoints.tables.shared import linear, norm, shared

MOMENTUM = (r"(visual_encoder|text_encoder|vision_proj|text_proj)_m\.",)
"""Patterns of the momentum encoders' parameters, used only in training."""

QUEUES = (r"(image|text|idx|ptr)_queue$", r"queue_ptr$")
"""Patterns of the queues of earlier embeddings, used only in training."""

_TRAINING = (*MOMENTUM, *QUEUES)
_RETRIEVAL = (r"vision_proj\.", r"text_proj\.", r"itm_head\.", r"temp$")
_DECODER = r"text_decoder\."
_VIDEO = r".*\.(time_embed$|temporal_fc\.|temporal_scaling$)"  # not in an image network
_UNSCALED = (
    "this configuration does not scale the output of temporal attention, unlike the network of"
    " these weights, so outputs differ. TESTA's own fine-tuning starts so too. To use the scales,"
    " set config.model.vision.learned_scale=True and the number of frames to theirs, and merge no"
    " frames"
)


@dataclasses.dataclass(frozen=True)
class Vision:
    """The sizes that a TimeSformer's rules depend on.

    Attributes:
      depth: number of blocks.
      edge: number of patches along an edge of a frame.
      frames: number of frames in its table of times.
      learned_scale: whether blocks scale the output of temporal attention; if not, a checkpoint's
        scales are dropped.
      attention: the kind of attention, see `models.timesformer`.
    """

    depth: int
    edge: int
    frames: int
    learned_scale: bool = False
    attention: str = "divided"


def rules(vision: Vision, text_depth: int) -> tuple[RuleSet, ...]:
    """The tables for TESTA's retrieval: its own checkpoints (also pretrained), and BLIP's."""
    own = RuleSet(
        rules=(*_encoders(vision, text_depth), *_heads()),
        ignored=(*_TRAINING, *bert.IGNORED, _DECODER),
        dropped=_dropped(vision),
        marker=r"\.temporal_attn\.",
    )
    return own, _of_images(own)


def pretraining_rules(vision: Vision, text_depth: int) -> tuple[RuleSet, ...]:
    """The tables for TESTA's pretraining: those of `rules`, plus the decoder's own parameters.

    Checkpoints hold the parameters that decoder and text encoder share under both names.
    """
    decoder, head = "text_decoder.bert", "text_decoder.cls.predictions"
    layers = bert.rules(decoder, "decoder", text_depth, 0, token_types=False)
    shared_with = {
        rule.source: rule.source.replace(decoder, "text_encoder")
        for rule in layers
        if ".attention." not in rule.source
    }
    words = bert.tied(head, "text_encoder.embeddings")
    own = RuleSet(
        rules=(
            *_encoders(vision, text_depth),
            *_heads(),
            *(rule for rule in layers if rule.source not in shared_with),
            *bert.word_head(head, "decoder/word_head"),
        ),
        ignored=(*_TRAINING, *bert.IGNORED),
        dropped=_dropped(vision),
        tied={**shared_with, **words},
        both_names=True,
        marker=r"\.temporal_attn\.",
    )
    return own, _of_images(own)


def answering_rules(vision: Vision, text_depth: int) -> tuple[RuleSet, ...]:
    """The tables for TESTA's question answering: those of `rules`, plus a decoder."""
    decoder, head = "text_decoder.bert", "text_decoder.cls.predictions"
    own = RuleSet(
        rules=(
            *_encoders(vision, text_depth),
            *bert.rules(decoder, "decoder", text_depth, 0, token_types=False),
            *bert.word_head(head, "decoder/word_head"),
        ),
        ignored=(*_TRAINING, *bert.IGNORED, *_RETRIEVAL),
        dropped=_dropped(vision),
        tied=bert.tied(head, f"{decoder}.embeddings"),
        marker=r"\.temporal_attn\.",
    )
    return own, _of_images(own)


def _heads() -> tuple[Rule, ...]:
    return (
        *linear("vision_proj", "vision_projection"),
        *linear("text_proj", "text_projection"),
        *linear("itm_head", "match_head"),
        Rule("temp", ("temperature",)),
    )


def _encoders(vision: Vision, text_depth: int) -> tuple[Rule, ...]:
    return (
        *encoder("visual_encoder.", "vision/", vision),
        *bert.rules("text_encoder", "text", text_depth, 0, token_types=False),
    )


def encoder(source: str, target: str, sizes: Vision) -> tuple[Rule, ...]:
    """A TimeSformer's rules; `source` and `target` are the prefixes of their names and ours."""
    block, ours = f"{source}blocks.{{i}}", f"{target}block_{{i}}"
    scaling = Rule(f"{block}.temporal_scaling", (f"{ours}/temporal_scaling",), Squeeze((0, 2)))
    over_time = (
        *norm(f"{block}.temporal_norm1", f"{ours}/temporal_norm"),
        *_attention(f"{block}.temporal_attn", f"{ours}/temporal_attention"),
        *((scaling,) if sizes.learned_scale else ()),
        *linear(f"{block}.temporal_fc", f"{ours}/temporal_out"),
    )
    layer = (
        *(over_time if sizes.attention == "divided" else ()),
        *norm(f"{block}.norm1", f"{ours}/attention_norm"),
        *_attention(f"{block}.attn", f"{ours}/attention"),
        *norm(f"{block}.norm2", f"{ours}/mlp_norm"),
        *linear(f"{block}.mlp.fc1", f"{ours}/mlp/hidden"),
        *linear(f"{block}.mlp.fc2", f"{ours}/mlp/out"),
    )
    times = Rule(f"{source}time_embed", (f"{target}time_embedding",), ResizeTimes(sizes.frames))
    return (
        *linear(f"{source}patch_embed.proj", f"{target}patch_embedding", Patches(flat=True)),
        Rule(f"{source}cls_token", (f"{target}class_embedding",), Squeeze((0, 1))),
        Rule(f"{source}pos_embed", (f"{target}position_embedding",), ResizeGrid(sizes.edge)),
        *((times,) if sizes.attention != "space" else ()),
        *each(range(sizes.depth), layer),
        *norm(f"{source}norm", f"{target}norm"),
    )


def _attention(source: str, target: str) -> tuple[Rule, ...]:
    def parts(kind: str) -> tuple[str, ...]:
        return tuple(f"{target}/{name}/{kind}" for name in ("query", "key", "value"))

    return (
        Rule(f"{source}.qkv.weight", parts("kernel"), Split(3)),
        Rule(f"{source}.qkv.bias", parts("bias"), SplitVector(3)),
        *linear(f"{source}.proj", f"{target}/out"),
    )


def _dropped(vision: Vision) -> dict[str, str]:
    """Pattern -> reason of the scales that the network lacks, for PyTorch's names and ours."""
    pattern = r"(visual_encoder\.blocks\.\d+\.|vision/block_\d+/)temporal_scaling$"
    return {} if vision.learned_scale else {pattern: _UNSCALED}


def _of_images(table: RuleSet) -> RuleSet:
    """Derives the table for an image network's checkpoint (BLIP's) from the video network's.

    Temporal attention and its norm start as copies of spatial attention, but contribute nothing
    yet: `temporal_out`, `time_embedding` and scales start as zeros.
    """
    added = [rule for rule in table.rules if re.match(_VIDEO, rule.source)]
    there = (
        dataclasses.replace(rule, source=re.sub(r"\.temporal_(attn|norm1)\.", r".\1.", rule.source))
        for rule in table.rules
        if rule not in added
    )
    return dataclasses.replace(
        table,
        rules=shared(there),
        fresh={target: np.zeros for rule in added for target in rule.targets},
        neutral=True,
        marker="",
    )
