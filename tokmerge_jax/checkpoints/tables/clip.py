"""Checkpoints of CLIP (OpenAI's, open_clip's, Hugging Face's) and of TempMe, which extends it."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tokmerge_jax.checkpoints.operations import Patches, Split, SplitVector, Squeeze, Transpose
from tokmerge_jax.checkpoints.rules import Rule, RuleSet, StateDict, each
from tokmerge_jax.checkpoints.tables.shared import embedding, linear, norm, uniform

_KERNELS = tuple(f"{{}}/{name}/kernel" for name in ("query", "key", "value"))
_BIASES = tuple(f"{{}}/{name}/bias" for name in ("query", "key", "value"))
_IGNORED = (
    r"clip\.(input_resolution|context_length|vocab_size)$",  # in OpenAI's archives
    r"clip\.attn_mask$",  # a buffer of open_clip
    r".*\.position_ids$",  # buffers of Hugging Face
)
RENAMES = (
    (r"^text\.", ""),  # open_clip's models with a separate text tower
    (r"^(?!clip\.|vision_model\.|text_model\.|\w+_projection\.|logit_scale$)", "clip."),
    (r"^logit_scale$", "clip.logit_scale"),
)


def rules(
    depth: int, text_depth: int, lora: bool = False, joins: Sequence[int] = ()
) -> tuple[RuleSet, ...]:
    """The tables for CLIP, by kind of checkpoint: TempMe's own, Hugging Face's, all others.

    From a CLIP checkpoint, TempMe's additional parameters start so that they change nothing.

    Args:
      depth: number of layers of the image transformer.
      text_depth: number of layers of the text transformer.
      lora: whether attention has LoRA.
      joins: layers before which clips join, each with a position table; if empty, the tables of a
        TempMe checkpoint are ignored.
    """
    added = additions("clip.", depth, text_depth, lora, joins)
    fresh = starts(added)
    plain, hugging = _openai(depth, text_depth), _hugging_face(depth, text_depth)
    unread = () if joins else (r".*\.TVPt_Video_Positional_embedding$",)
    shared = {"ignored": (*_IGNORED, *unread), "renames": RENAMES}
    return (
        RuleSet((*plain, *added), **shared, describe=describe, marker="TVPt"),
        RuleSet(
            hugging,
            **shared,
            fresh=fresh,
            neutral=True,
            describe=describe,
            marker=r"vision_model\.",
        ),
        RuleSet(plain, **shared, fresh=fresh, neutral=True, describe=describe),
    )


def additions(
    prefix: str, depth: int, text_depth: int, lora: bool, joins: Sequence[int]
) -> tuple[Rule, ...]:
    """TempMe's additional parameters; `prefix` begins all names. The rest is as in `rules`."""
    return (
        *(_lora(f"{prefix}visual.transformer", "vision", depth) if lora else ()),
        *(_lora(f"{prefix}transformer", "text", text_depth) if lora else ()),
        *each(joins, (_positions(f"{prefix}visual.transformer"),)),
    )


def starts(added: Iterable[Rule]) -> dict[str, Callable[[Sequence[int]], np.ndarray]]:
    """`RuleSet.fresh` of `additions`, which changes nothing."""
    return {target: _start(target) for rule in added for target in rule.targets}


def describe(state_dict: StateDict) -> str:
    """The sizes of the CLIP in a checkpoint, as keys of `config.model`, and whether it has LoRA."""
    try:
        parts = [f"{name}={size}" for name, size in sizes(state_dict).items()]
    except KeyError as error:
        return f"not a CLIP with a vision transformer: it has no {error.args[0]}"
    added = (np.shape(tensor) for name, tensor in state_dict.items() if name.endswith("LoRA_a"))
    ranks = {shape[0] for shape in added if shape}
    parts += [f"lora_rank={rank}, or fold it by tokmerge convert --merge_lora" for rank in ranks]
    return ", ".join(parts)


def sizes(state_dict: StateDict) -> Mapping[str, int]:
    """Key in `config.model` -> size of the network in a checkpoint, from its tensors' shapes.

    The number of heads is not stored; all of CLIP's heads have 64 channels.

    Raises:
      KeyError: if a tensor is missing; it names the tensor.
    """
    shapes, names = _named(state_dict)
    words, text_width = of_axes(2, shapes, names.words)
    return {
        **vision_sizes(state_dict),
        "text.width": text_width,
        "text.depth": layers(shapes, names.text_layer),
        "text.heads": text_width // 64,
        "text.vocab_size": words,
        "text.max_positions": of_axes(2, shapes, names.text_positions)[0],
        "embed_dim": of_axes(2, shapes, names.projection)[names.embedding_axis],
    }


def vision_sizes(state_dict: StateDict) -> dict[str, int]:
    """`sizes` of the image transformer only; works without a text transformer.

    Raises:
      KeyError: if a tensor is missing; it names the tensor.
    """
    shapes, names = _named(state_dict)
    width, _, _, patch = of_axes(4, shapes, names.patches)
    positions, _ = of_axes(2, shapes, names.positions)
    return {
        "vision.width": width,
        "vision.depth": layers(shapes, names.vision_layer),
        "vision.heads": width // 64,
        "vision.patch_size": patch,
        "vision.image_size": patch * math.isqrt(positions - 1),
    }


def of_axes(count: int, shapes: Mapping[str, Sequence[int]], name: str) -> Sequence[int]:
    """The shape of a tensor, which must have `count` axes, none of them empty.

    Raises:
      KeyError: if the tensor is missing or has another shape; it names the tensor.
    """
    shape = shapes[name]
    if len(shape) != count or 0 in shape:
        raise KeyError(f"{name} of {count} axes")
    return shape


def _named(state_dict: StateDict) -> tuple[Mapping[str, Sequence[int]], "_SizeNames"]:
    """Returns (name in the rules -> shape, names of the tensors that determine the sizes)."""
    table = RuleSet((), renames=RENAMES)
    shapes = {table.rename(name): np.shape(tensor) for name, tensor in state_dict.items()}
    return shapes, _SIZES[any(name.startswith("vision_model.") for name in shapes)]


def layers(names: Iterable[str], pattern: str) -> int:
    """The number of names that match a layer's pattern."""
    return sum(bool(re.fullmatch(pattern, name)) for name in names)


class _SizeNames(NamedTuple):
    """Names of the tensors whose shapes determine the network's sizes."""

    patches: str
    positions: str
    vision_layer: str
    words: str
    text_positions: str
    text_layer: str
    projection: str
    embedding_axis: int


_SIZES = (
    _SizeNames(
        patches="clip.visual.conv1.weight",
        positions="clip.visual.positional_embedding",
        vision_layer=r"clip\.visual\.transformer\.resblocks\.\d+\.ln_1\.weight",
        words="clip.token_embedding.weight",
        text_positions="clip.positional_embedding",
        text_layer=r"clip\.transformer\.resblocks\.\d+\.ln_1\.weight",
        projection="clip.text_projection",
        embedding_axis=1,
    ),
    _SizeNames(  # of Hugging Face
        patches="vision_model.embeddings.patch_embedding.weight",
        positions="vision_model.embeddings.position_embedding.weight",
        vision_layer=r"vision_model\.encoder\.layers\.\d+\.layer_norm1\.weight",
        words="text_model.embeddings.token_embedding.weight",
        text_positions="text_model.embeddings.position_embedding.weight",
        text_layer=r"text_model\.encoder\.layers\.\d+\.layer_norm1\.weight",
        projection="text_projection.weight",
        embedding_axis=0,
    ),
)


def _positions(source: str) -> Rule:
    name = f"{source}.resblocks.{{i}}.TVPt_Video_Positional_embedding"
    return Rule(name, ("vision/join_{i}_positions",), Squeeze((0, 2)))


def _openai(depth: int, text_depth: int) -> tuple[Rule, ...]:
    return (
        *vision("clip.visual", depth),
        *norm("clip.visual.ln_post", "vision_norm"),
        Rule("clip.visual.proj", ("vision_projection/kernel",)),
        *embedding("clip.token_embedding", "text/word"),
        Rule("clip.positional_embedding", ("text/position_embedding",)),
        *blocks("clip.transformer", "text", text_depth),
        *norm("clip.ln_final", "text/norm"),
        Rule("clip.text_projection", ("text_projection/kernel",)),
        Rule("clip.logit_scale", ("logit_scale",)),
    )


def vision(source: str, depth: int) -> tuple[Rule, ...]:
    """The image transformer up to its last block, as OpenAI and most others name it."""
    return (
        Rule(f"{source}.conv1.weight", ("vision/patch_embedding/kernel",), Patches(flat=True)),
        Rule(f"{source}.class_embedding", ("vision/class_embedding",)),
        Rule(f"{source}.positional_embedding", ("vision/position_embedding",)),
        *norm(f"{source}.ln_pre", "vision/input_norm"),
        *blocks(f"{source}.transformer", "vision", depth),
    )


def blocks(source: str, target: str, depth: int) -> tuple[Rule, ...]:
    """The blocks of a transformer, as OpenAI and most others name them."""
    block, ours = f"{source}.resblocks.{{i}}", f"{target}/block_{{i}}"
    return each(
        range(depth),
        (
            *norm(f"{block}.ln_1", f"{ours}/attention_norm"),
            *attention(f"{block}.attn", f"{ours}/attention"),
            *norm(f"{block}.ln_2", f"{ours}/mlp_norm"),
            *linear(f"{block}.mlp.c_fc", f"{ours}/mlp/hidden"),
            *linear(f"{block}.mlp.c_proj", f"{ours}/mlp/out"),
        ),
    )


def attention(source: str, target: str) -> tuple[Rule, ...]:
    """The rules of `torch.nn.MultiheadAttention`, whose three projections are fused."""
    return (
        Rule(f"{source}.in_proj_weight", _all(_KERNELS, target), Split(3)),
        Rule(f"{source}.in_proj_bias", _all(_BIASES, target), SplitVector(3)),
        *linear(f"{source}.out_proj", f"{target}/out"),
    )


def _lora(source: str, target: str, depth: int) -> tuple[Rule, ...]:
    layer, ours = f"{source}.resblocks.{{i}}.attn", f"{target}/block_{{i}}/attention/lora"
    return each(
        range(depth),
        (
            Rule(f"{layer}.TVPt_LoRA_a", (f"{ours}/down/kernel",), Transpose()),
            Rule(f"{layer}.TVPt_LoRA_b", _all(_KERNELS, ours), Split(3)),
        ),
    )


def _hugging_face(depth: int, text_depth: int) -> tuple[Rule, ...]:
    text = "text_model.embeddings"
    return (
        *hugging_face_vision(depth),
        *norm("vision_model.post_layernorm", "vision_norm"),
        Rule("visual_projection.weight", ("vision_projection/kernel",), Transpose()),
        *embedding(f"{text}.token_embedding", "text/word"),
        Rule(f"{text}.position_embedding.weight", ("text/position_embedding",)),
        *_hugging_face_blocks("text_model", "text", text_depth),
        *norm("text_model.final_layer_norm", "text/norm"),
        Rule("text_projection.weight", ("text_projection/kernel",), Transpose()),
        Rule("clip.logit_scale", ("logit_scale",)),
    )


def hugging_face_vision(depth: int) -> tuple[Rule, ...]:
    """The image transformer up to its last block, with Hugging Face's names."""
    names = "vision_model.embeddings"
    patches = f"{names}.patch_embedding.weight"
    return (
        Rule(patches, ("vision/patch_embedding/kernel",), Patches(flat=True)),
        Rule(f"{names}.class_embedding", ("vision/class_embedding",)),
        Rule(f"{names}.position_embedding.weight", ("vision/position_embedding",)),
        *norm("vision_model.pre_layrnorm", "vision/input_norm"),  # the spelling is theirs
        *_hugging_face_blocks("vision_model", "vision", depth),
    )


def _hugging_face_blocks(source: str, target: str, depth: int) -> tuple[Rule, ...]:
    block, ours = f"{source}.encoder.layers.{{i}}", f"{target}/block_{{i}}"
    names = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "out"}
    return each(
        range(depth),
        (
            *norm(f"{block}.layer_norm1", f"{ours}/attention_norm"),
            *(
                rule
                for theirs, name in names.items()
                for rule in linear(f"{block}.self_attn.{theirs}", f"{ours}/attention/{name}")
            ),
            *norm(f"{block}.layer_norm2", f"{ours}/mlp_norm"),
            *linear(f"{block}.mlp.fc1", f"{ours}/mlp/hidden"),
            *linear(f"{block}.mlp.fc2", f"{ours}/mlp/out"),
        ),
    )


def _all(targets: Sequence[str], prefix: str) -> tuple[str, ...]:
    return tuple(target.format(prefix) for target in targets)


def _start(target: str) -> Callable[[Sequence[int]], np.ndarray]:
    """Initial values: a fixed random draw for LoRA's `down`, zeros for all others."""
    if not target.endswith("/down/kernel"):
        return np.zeros

    return lambda shape: uniform(target, 1 / math.sqrt(shape[0]))(shape)
