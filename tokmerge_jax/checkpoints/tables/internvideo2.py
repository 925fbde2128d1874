"""Checkpoints of InternVideo2-CLIP: the three files that its authors release, or one with all.

Source: InternVideo2 (arXiv 2403.15377), its released code; MobileCLIP's for the text transformer.
"""

from tokmerge_jax.checkpoints.operations import Patches, Split, SplitVector, Squeeze
from tokmerge_jax.checkpoints.rules import Rule, RuleSet, StateDict, each
from tokmerge_jax.checkpoints.tables import clip
from tokmerge_jax.checkpoints.tables.shared import embedding, linear, norm

_ENCODER = "cls_token$|pos_embed$|patch_embed\\.|blocks\\."
_RENAMES = ((rf"^(?=(?:{_ENCODER}))", "vision_encoder."),)  # the vision file has no prefix
_IGNORED = (
    # In the vision file: the pooling before it was trained again, which the head's replaces, what
    # imitated the teachers, and what classified actions.
    r"clip_projector\.",
    r"(clip_decoder|mae_decoder|final_clip_decoder|fc_norm|head)\.",
    r"(clip|mae)_pos_embed$",
    r"image_encoder\.|logit_scale$",  # in MobileCLIP's file
)
_QKV = ("query", "key", "value")


def rules(depth: int, text_depth: int) -> RuleSet:
    """The table for InternVideo2-CLIP.

    Args:
      depth: number of layers of the video transformer.
      text_depth: number of layers of the text transformer.
    """
    return RuleSet(
        (
            *_vision("vision_encoder", depth),
            *_pooling("vision_encoder.clip_projector"),
            *norm("vision_align.0", "vision_norm"),
            *linear("vision_align.1", "vision_projection"),
            Rule("temp", ("temperature",)),
            *_text("text_encoder", text_depth),
        ),
        ignored=_IGNORED,
        renames=_RENAMES,
        describe=describe,
    )


def describe(state_dict: StateDict) -> str:
    """The sizes of the video transformer in a checkpoint, and the parts that it lacks."""
    table = RuleSet((), renames=_RENAMES)
    shapes = {table.rename(name): tensor.shape for name, tensor in state_dict.items()}
    lacking = [what for name, what in _PARTS.items() if name not in shapes]
    if lacking:
        return (
            f"without {' and '.join(lacking)}; name all files, joined by commas: those of the video"
            " transformer, of MobileCLIP-B(LT), and of the head"
        )
    width = clip.of_axes(3, shapes, "vision_encoder.cls_token")[2]
    layers = clip.layers(shapes, r"vision_encoder\.blocks\.\d+\.norm1\.weight")
    return f"vision.width={width}, vision.depth={layers}, vision.heads={width // 64}"


_PARTS = {
    "vision_encoder.cls_token": "the video transformer",
    "text_encoder.projection_layer": "the text transformer",
    "vision_align.1.weight": "the head",
}
"""A tensor of each released file, and what the file holds."""


def _vision(source: str, depth: int) -> tuple[Rule, ...]:
    block, ours = f"{source}.blocks.{{i}}", "vision/block_{i}"
    kernels = tuple(f"{ours}/attention/{name}/kernel" for name in _QKV)
    layer = (
        Rule(f"{block}.norm1.weight", (f"{ours}/attention_norm/scale",)),
        Rule(f"{block}.attn.qkv.weight", kernels, Split(3)),
        Rule(f"{block}.attn.q_norm.weight", (f"{ours}/attention/query_norm/scale",)),
        Rule(f"{block}.attn.k_norm.weight", (f"{ours}/attention/key_norm/scale",)),
        *linear(f"{block}.attn.proj", f"{ours}/attention/out"),
        Rule(f"{block}.ls1.gamma", (f"{ours}/attention_scale",)),
        Rule(f"{block}.norm2.weight", (f"{ours}/mlp_norm/scale",)),
        *linear(f"{block}.mlp.fc1", f"{ours}/mlp/hidden"),
        *linear(f"{block}.mlp.fc2", f"{ours}/mlp/out"),
        Rule(f"{block}.ls2.gamma", (f"{ours}/mlp_scale",)),
    )
    return (
        Rule(f"{source}.cls_token", ("vision/class_embedding",), Squeeze((0, 1))),
        Rule(f"{source}.pos_embed", ("vision/position_embedding",), Squeeze((0,))),
        *linear(f"{source}.patch_embed.proj", "vision/patch_embedding", Patches()),
        *each(range(depth), layer),
    )


def _pooling(source: str) -> tuple[Rule, ...]:
    attention = f"{source}.cross_attn"
    of_each = (
        rule
        for name in _QKV
        for rule in (
            *norm(f"{source}.norm1_{name[0]}", f"pool/{name}_norm"),
            linear(f"{attention}.{name[0]}", f"pool/attention/{name}")[0],
            Rule(f"{attention}.{name[0]}_bias", (f"pool/attention/{name}/bias",)),
        )
    )
    return (*of_each, *linear(f"{attention}.proj", "pool/attention/out"))


def _text(source: str, depth: int) -> tuple[Rule, ...]:
    block, ours = f"{source}.transformer.{{i}}", "text/block_{i}"
    attention, mlp = f"{block}.pre_norm_mha", f"{block}.pre_norm_ffn"
    kernels, biases = (
        tuple(f"{ours}/attention/{name}/{kind}" for name in _QKV) for kind in ("kernel", "bias")
    )
    layer = (
        *norm(f"{attention}.0", f"{ours}/attention_norm"),
        Rule(f"{attention}.1.qkv_proj.weight", kernels, Split(3)),
        Rule(f"{attention}.1.qkv_proj.bias", biases, SplitVector(3)),
        *linear(f"{attention}.1.out_proj", f"{ours}/attention/out"),
        *norm(f"{mlp}.0", f"{ours}/mlp_norm"),
        *linear(f"{mlp}.1", f"{ours}/mlp/hidden"),
        *linear(f"{mlp}.4", f"{ours}/mlp/out"),
    )
    table = f"{source}.positional_embedding.pos_embed.pos_embed"
    return (
        *embedding(f"{source}.embedding_layer", "text/word"),
        Rule(table, ("text/position_embedding",), Squeeze((0, 1))),
        *each(range(depth), layer),
        *norm(f"{source}.final_layer_norm", "text/norm"),
        Rule(f"{source}.projection_layer", ("text_projection/kernel",)),
    )
