"""Checkpoints of VideoPrism: the released .npz files, and those of transformers.

Source: VideoPrism (ICML 2024), its released code; transformers 5.24, its conversion script.
"""

import re
from typing import NamedTuple

import numpy as np

from tokmerge_jax.checkpoints.operations import Heads, Patches, Squeeze, Stack
from tokmerge_jax.checkpoints.rules import Rule, RuleSet, StateDict, each
from tokmerge_jax.checkpoints.tables.shared import embedding, linear, norm

_RELEASED = "^params/"
_BUFFERS = (r"text_model\.embeddings\.position_(embedding|ids)$",)  # computed here
_ENCODER_NORM = r"(spatial_ln/scale|(^|\.)layernorm1\.weight)$"


class Depths(NamedTuple):
    """Number of blocks of each transformer."""

    spatial: int
    temporal: int
    auxiliary: int = 0
    text: int = 0


def rules(depths: Depths, heads: int) -> tuple[RuleSet, RuleSet]:
    """The tables for VideoPrism-LvT: that of the released files, that of transformers'.

    Args:
      depths: number of blocks.
      heads: K of all transformers.
    """
    auxiliary = "params/auxiliary_encoder/transformers_stack"
    released = (
        *_encoder("params/vision_encoder/", depths, heads),
        *_stack(auxiliary, "auxiliary", depths.auxiliary, heads),
        *_pool("params/contrastive_vision_pooler", heads),
        *_text("params/text_encoder", depths.text, heads),
    )
    hugging = (
        *_hugging_encoder("video_model.vision_model.", depths),
        *_hugging_blocks("video_model.auxiliary_layers", "auxiliary", depths.auxiliary),
        *_hugging_pool("video_model"),
        *_hugging_text("text_model", depths.text),
    )
    return (
        RuleSet(released, describe=describe, marker=_RELEASED),
        RuleSet(hugging, describe=describe, ignored=_BUFFERS),
    )


def encoder_rules(depths: Depths, heads: int) -> tuple[RuleSet, RuleSet]:
    """As `rules`, for the plain VideoPrism, which has neither auxiliary nor text blocks."""
    return (
        RuleSet(_encoder("params/", depths, heads), describe=describe, marker=_RELEASED),
        RuleSet(_hugging_encoder("", depths), describe=describe),
    )


def describe(state_dict: StateDict) -> str:
    """The kind and the width of the VideoPrism in a checkpoint."""
    norms = [name for name in state_dict if re.search(_ENCODER_NORM, name)]
    if not norms:
        return "no VideoPrism: they have no norm after the spatial blocks"
    texts = any(re.match(r"(params/text_encoder/|text_model\.)", name) for name in state_dict)
    kind = "a VideoPrism-LvT" if texts else "a plain VideoPrism, which cannot read texts,"
    return f"{kind} of {np.size(state_dict[norms[0]])} channels"


def _encoder(prefix: str, depths: Depths, heads: int) -> tuple[Rule, ...]:
    """The plain encoder in the released files; `prefix` begins its names."""
    spatial, temporal = (
        f"{prefix}{name}_encoder/transformers_stack" for name in ("spatial", "temporal")
    )
    return (
        *_linear(f"{prefix}patch_projection", "vision/patch_embedding"),
        Rule(f"{prefix}spatial_pos_emb/emb_var", ("vision/position_embedding",)),
        *_stack(spatial, "vision", depths.spatial, heads),
        *_norm(f"{prefix}spatial_ln", "vision/norm"),
        Rule(f"{prefix}temporal_pos_emb/emb_var", ("time_embedding",)),
        *_stack(temporal, "temporal", depths.temporal, heads),
        *_norm(f"{prefix}temporal_ln", "temporal_norm"),
    )


def _pool(source: str, heads: int) -> tuple[Rule, ...]:
    attention = f"{source}/pooling_attention"
    return (
        Rule(f"{attention}_query", ("pool/probe",), Squeeze((0,))),
        *_attention(attention, "pool", heads),
        Rule(f"{attention}/per_dim_scale/per_dim_scale", ("pool/scale",)),
        *_norm(f"{attention}_layer_norm", "pool/norm"),
    )


def _text(source: str, depth: int, heads: int) -> tuple[Rule, ...]:
    return (
        Rule(f"{source}/token_emb/emb_var", ("text/word/embedding",)),
        Rule(f"{source}/cls_emb", ("text/class_embedding",), Squeeze((0, 1))),
        *_stack(f"{source}/unimodal_transformer", "text", depth, heads),
        *_norm(f"{source}/unimodal_ln", "text/norm"),
    )


def _stack(source: str, target: str, depth: int, heads: int) -> tuple[Rule, ...]:
    """The blocks of a transformer; each tensor holds that of all blocks."""
    layers = f"{source}/x_layers"
    block = (
        *_norm(f"{layers}/layer_norm", "attention_norm"),
        *_attention(f"{layers}/self_attention", "attention", heads),
        *_norm(f"{layers}/ff_layer/layer_norm", "mlp_norm"),
        *_linear(f"{layers}/ff_layer/ffn_layer1", "mlp/hidden"),
        *_linear(f"{layers}/ff_layer/ffn_layer2", "mlp/out"),
    )
    return tuple(
        Rule(
            rule.source,
            tuple(f"{target}/block_{i}/{rule.targets[0]}" for i in range(depth)),
            Stack(depth, rule.operation),
        )
        for rule in block
    )


def _attention(source: str, target: str, heads: int) -> tuple[Rule, ...]:
    """Projections with an axis of heads; the last one has its outputs first."""
    projections = (
        (f"{source}/{name}/{ending}", f"{target}/{name}/{ours}")
        for name in ("query", "key", "value")
        for ending, ours in (("w", "kernel"), ("b", "bias"))
    )
    return (
        *(Rule(name, (ours,), Heads(heads)) for name, ours in projections),
        Rule(f"{source}/post/w", (f"{target}/out/kernel",), Heads(heads, outputs_first=True)),
        Rule(f"{source}/post/b", (f"{target}/out/bias",)),
    )


def _linear(source: str, target: str) -> tuple[Rule, ...]:
    return (
        Rule(f"{source}/linear/kernel", (f"{target}/kernel",)),
        Rule(f"{source}/linear/bias", (f"{target}/bias",)),
    )


def _norm(source: str, target: str) -> tuple[Rule, ...]:
    return (
        Rule(f"{source}/scale", (f"{target}/scale",)),
        Rule(f"{source}/bias", (f"{target}/bias",)),
    )


def _hugging_encoder(prefix: str, depths: Depths) -> tuple[Rule, ...]:
    """The plain encoder in transformers' files; `prefix` begins its names."""
    spatial, temporal = (f"{prefix}{name}_embeddings" for name in ("spatial", "temporal"))
    patches = f"{spatial}.patch_embeddings.projection"
    one = Squeeze((0,))
    return (
        *linear(patches, "vision/patch_embedding", Patches()),
        Rule(f"{spatial}.position_embeddings", ("vision/position_embedding",), one),
        *_hugging_blocks(f"{prefix}spatial_layers", "vision", depths.spatial),
        *norm(f"{prefix}layernorm1", "vision/norm"),
        Rule(f"{temporal}.position_embeddings", ("time_embedding",), one),
        *_hugging_blocks(f"{prefix}temporal_layers", "temporal", depths.temporal),
        *norm(f"{prefix}layernorm2", "temporal_norm"),
    )


def _hugging_pool(source: str) -> tuple[Rule, ...]:
    return (
        Rule(f"{source}.head.pooling_attention_query", ("pool/probe",), Squeeze((0, 1))),
        *_hugging_attention(f"{source}.head", "pool"),
        Rule(f"{source}.head.per_dim_scale", ("pool/scale",)),
        *norm(f"{source}.head_layernorm", "pool/norm"),
    )


def _hugging_text(source: str, depth: int) -> tuple[Rule, ...]:
    return (
        *embedding(f"{source}.embeddings.token_embedding", "text/word"),
        Rule(f"{source}.embeddings.cls_emb", ("text/class_embedding",), Squeeze((0, 1))),
        *_hugging_blocks(f"{source}.layers", "text", depth),
        *norm(f"{source}.layernorm", "text/norm"),
    )


def _hugging_blocks(source: str, target: str, depth: int) -> tuple[Rule, ...]:
    block, ours = f"{source}.{{i}}", f"{target}/block_{{i}}"
    return each(
        range(depth),
        (
            *norm(f"{block}.layernorm_before", f"{ours}/attention_norm"),
            *_hugging_attention(f"{block}.attention", f"{ours}/attention"),
            *norm(f"{block}.layernorm_after", f"{ours}/mlp_norm"),
            *linear(f"{block}.mlp.fc1", f"{ours}/mlp/hidden"),
            *linear(f"{block}.mlp.fc2", f"{ours}/mlp/out"),
        ),
    )


def _hugging_attention(source: str, target: str) -> tuple[Rule, ...]:
    names = {"q": "query", "k": "key", "v": "value", "o": "out"}
    return tuple(
        rule
        for letter, name in names.items()
        for rule in linear(f"{source}.{letter}_proj", f"{target}/{name}")
    )
