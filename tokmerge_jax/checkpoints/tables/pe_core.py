"""Checkpoints of PE-Core: Meta's and open_clip's, whose image transformer has timm's names.

Source: Perception Encoder (arXiv 2504.13181), its released code; timm; open_clip.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tokmerge_jax.checkpoints.operations import (
    Patches,
    Split,
    SplitVector,
    Squeeze,
    Transpose,
    Zeros,
)
from tokmerge_jax.checkpoints.rules import Rule, RuleSet, StateDict, each
from tokmerge_jax.checkpoints.tables import clip
from tokmerge_jax.checkpoints.tables.shared import embedding, linear, norm

_RENAMES = ((r"(?<![^.])module\.", ""),)
_IGNORED = (r"(text\.)?attn_mask$",)  # a buffer of open_clip
_WIDE = 1536  # channels of G, whose 16 heads have 96; in all other sizes heads have 64


def rules(
    depth: int,
    text_depth: int,
    lora: bool = False,
    joins: Sequence[int] = (),
    *,
    embed_dim: int,
    class_token: bool = True,
) -> tuple[RuleSet, ...]:
    """The tables for PE-Core, by kind of checkpoint: with TempMe's additions, open_clip's, Meta's.

    Args:
      depth: number of layers of the image transformer.
      text_depth: number of layers of the text transformer.
      lora: whether attention has LoRA.
      joins: layers before which clips join, each with a position table.
      embed_dim: E.
      class_token: whether frames have a class token.
    """
    added = clip.additions("", depth, text_depth, lora, joins)
    meta = (*_meta(depth), *_text("", text_depth))
    trunk = (*_trunk(depth, embed_dim), *_text("text.", text_depth))
    if not class_token:
        absent = ("vision/class_embedding",)
        meta, trunk = (tuple(r for r in table if r.targets != absent) for table in (meta, trunk))
    start = {"fresh": clip.starts(added), "neutral": True}
    shared = {"renames": _RENAMES, "ignored": _IGNORED, "describe": describe}
    return (
        RuleSet((*meta, *added), **shared, marker="TVPt"),
        RuleSet(trunk, **shared, **start, marker=r"visual\.trunk\."),
        RuleSet(meta, **shared, **start),
    )


def describe(state_dict: StateDict) -> str:
    """The sizes of the PE-Core in a checkpoint, as keys of `config.model`, or what it is."""
    try:
        return ", ".join(f"{name}={size}" for name, size in sizes(state_dict).items())
    except KeyError as error:
        names = " ".join(state_dict)
        if "attn_pool." not in names:
            return "no PE-Core, but perhaps a PE-Lang or PE-Spatial: it has no attention pooling"
        if "token_embedding" not in names:
            return (
                "an image transformer alone, as in timm and transformers, which cannot read texts;"
                " take Meta's or open_clip's file"
            )
        return f"no PE-Core: it has no {error.args[0]}"


def sizes(state_dict: StateDict) -> Mapping[str, int | bool]:
    """Key in `config.model` -> size of the network in a checkpoint, from its tensors' shapes.

    The number of heads is not stored; it follows from the released sizes.

    Raises:
      KeyError: if a tensor is missing; it names the tensor.
    """
    table = RuleSet((), renames=_RENAMES)
    shapes = {table.rename(name): np.shape(tensor) for name, tensor in state_dict.items()}
    names = _SIZES[any(name.startswith("visual.trunk.") for name in shapes)]
    width, _, _, patch = clip.of_axes(4, shapes, names.patches)
    rows = clip.of_axes(names.position_axes, shapes, names.positions)[-2]
    grid = math.isqrt(rows - (names.class_token in shapes))
    clip.of_axes(3, shapes, names.probe)
    words, text_width = clip.of_axes(2, shapes, f"{names.text}token_embedding.weight")
    layer = rf"{names.text}transformer\.resblocks\.\d+\.ln_1\.weight"
    return {
        "vision.width": width,
        "vision.depth": clip.layers(shapes, names.layer),
        "vision.heads": 16 if width == _WIDE else width // 64,
        "vision.patch_size": patch,
        "vision.image_size": patch * grid,
        "vision.mlp_width": clip.of_axes(1, shapes, names.hidden)[0],
        "vision.class_token": names.class_token in shapes,
        "vision.grid": grid,
        "text.width": text_width,
        "text.depth": clip.layers(shapes, layer),
        "text.heads": text_width // 64,
        "text.vocab_size": words,
        "text.max_positions": clip.of_axes(2, shapes, f"{names.text}positional_embedding")[0],
        "embed_dim": clip.of_axes(2, shapes, f"{names.text}text_projection")[1],
    }


class _SizeNames(NamedTuple):
    """Names of the tensors whose shapes determine the network's sizes; `text` begins the text's."""

    patches: str
    positions: str
    position_axes: int
    class_token: str
    layer: str
    hidden: str
    probe: str
    text: str


_SIZES = (
    _SizeNames(
        patches="visual.conv1.weight",
        positions="visual.positional_embedding",
        position_axes=2,
        class_token="visual.class_embedding",
        layer=r"visual\.transformer\.resblocks\.\d+\.ln_1\.weight",
        hidden="visual.transformer.resblocks.0.mlp.c_fc.bias",
        probe="visual.attn_pool.probe",
        text="",
    ),
    _SizeNames(  # of open_clip
        patches="visual.trunk.patch_embed.proj.weight",
        positions="visual.trunk.pos_embed",
        position_axes=3,
        class_token="visual.trunk.cls_token",
        layer=r"visual\.trunk\.blocks\.\d+\.norm1\.weight",
        hidden="visual.trunk.blocks.0.mlp.fc1.bias",
        probe="visual.trunk.attn_pool.latent",
        text="text.",
    ),
)


def _text(prefix: str, depth: int) -> tuple[Rule, ...]:
    """The text transformer, and the scale of the cosines; `prefix` begins the former's names."""
    return (
        *embedding(f"{prefix}token_embedding", "text/word"),
        Rule(f"{prefix}positional_embedding", ("text/position_embedding",)),
        *clip.blocks(f"{prefix}transformer", "text", depth),
        *norm(f"{prefix}ln_final", "text/norm"),
        Rule(f"{prefix}text_projection", ("text_projection/kernel",)),
        Rule("logit_scale", ("logit_scale",)),
    )


def _meta(depth: int) -> tuple[Rule, ...]:
    """Meta's image transformer, pooling and projection."""
    pool = "visual.attn_pool"
    return (
        *clip.vision("visual", depth),
        *norm("visual.ln_post", "vision_norm"),
        Rule(f"{pool}.probe", ("pool/probe",), Squeeze((0, 1))),
        *clip.attention(f"{pool}.attn", "pool/attention"),
        *norm(f"{pool}.layernorm", "pool/norm"),
        *linear(f"{pool}.mlp.c_fc", "pool/mlp/hidden"),
        *linear(f"{pool}.mlp.c_proj", "pool/mlp/out"),
        Rule("visual.proj", ("vision_projection/kernel",)),
    )


def _trunk(depth: int, embed_dim: int) -> tuple[Rule, ...]:
    """The same in timm's names, as open_clip's "trunk"."""
    trunk, pool = "visual.trunk", "visual.trunk.attn_pool"
    patches = f"{trunk}.patch_embed.proj.weight"
    return (
        Rule(patches, ("vision/patch_embedding/kernel",), Patches(flat=True)),
        Rule(f"{trunk}.cls_token", ("vision/class_embedding",), Squeeze((0, 1))),
        Rule(f"{trunk}.pos_embed", ("vision/position_embedding",), Squeeze((0,))),
        *norm(f"{trunk}.norm_pre", "vision/input_norm"),
        *_trunk_blocks(f"{trunk}.blocks", depth),
        *norm(f"{trunk}.norm", "vision_norm"),
        Rule(f"{pool}.latent", ("pool/probe",), Squeeze((0, 1))),
        *linear(f"{pool}.q", "pool/attention/query"),
        *_fused(f"{pool}.kv", "pool/attention", ("key", "value")),
        *linear(f"{pool}.proj", "pool/attention/out"),
        *norm(f"{pool}.norm", "pool/norm"),
        *linear(f"{pool}.mlp.fc1", "pool/mlp/hidden"),
        *linear(f"{pool}.mlp.fc2", "pool/mlp/out"),
        Rule(f"{trunk}.head.weight", ("vision_projection/kernel",), Transpose()),
        Rule(f"{trunk}.head.bias", (), Zeros(embed_dim)),
    )


def _trunk_blocks(source: str, depth: int) -> tuple[Rule, ...]:
    block, ours = f"{source}.{{i}}", "vision/block_{i}"
    return each(
        range(depth),
        (
            *norm(f"{block}.norm1", f"{ours}/attention_norm"),
            *_fused(f"{block}.attn.qkv", f"{ours}/attention", ("query", "key", "value")),
            *linear(f"{block}.attn.proj", f"{ours}/attention/out"),
            *norm(f"{block}.norm2", f"{ours}/mlp_norm"),
            *linear(f"{block}.mlp.fc1", f"{ours}/mlp/hidden"),
            *linear(f"{block}.mlp.fc2", f"{ours}/mlp/out"),
        ),
    )


def _fused(source: str, target: str, parts: Sequence[str]) -> tuple[Rule, ...]:
    """A linear layer that stacks several of ours."""
    kernels, biases = ([f"{target}/{part}/{kind}" for part in parts] for kind in ("kernel", "bias"))
    return (
        Rule(f"{source}.weight", tuple(kernels), Split(len(parts))),
        Rule(f"{source}.bias", tuple(biases), SplitVector(len(parts))),
    )
