"""UMT's retrieval checkpoints, fine-tuned and pretrained (`docs/vid_tldr.md`)."""

import dataclasses
import re

from tokmerge_jax.checkpoints.operations import Patches, Split
from tokmerge_jax.checkpoints.rules import Rule, RuleSet, each
from tokmerge_jax.checkpoints.tables import bert
from tokmerge_jax.checkpoints.tables.shared import begun, linear, norm

IGNORED = (
    r"clip_teacher\.",  # the teacher of pretraining
    r"vision_encoder\.clip_decoder\.",  # the head that imitated the teacher
    *bert.IGNORED,
)
RENAMES = (
    (r"^text_encoder\.bert\.", "text_encoder."),  # pretraining wraps BERT as a language model
    (r"^(encoder\.)?(patch_embed|blocks|norm)\.", r"vision_encoder.encoder.\2."),  # video only
)
_OF_VIDEOS = r"patch_embed|blocks|norm|pos_embed|fc_norm|head|clip_decoder"


def rules(depth: int, text_depth: int, fusion_layer: int, predicts_words: bool = False) -> RuleSet:
    """The table for UMT with `depth` video layers and the given BERT layers.

    The word head of pretraining is read only if the network `predicts_words`.
    """
    head = "text_encoder.cls.predictions"
    return RuleSet(
        rules=(
            *vision("vision_encoder.encoder.", "vision", depth),
            *norm("vision_encoder.pool_norm", "pool_norm"),
            *bert.rules("text_encoder", "text", text_depth, fusion_layer),
            *(bert.word_head(head, "text/word_head") if predicts_words else ()),
            *linear("vision_proj", "vision_projection"),
            *linear("text_proj", "text_projection"),
            *linear("itm_head", "match_head"),
            Rule("temp", ("temperature",)),
        ),
        ignored=IGNORED if predicts_words else (*IGNORED, r"text_encoder\.cls\."),
        renames=RENAMES,
        tied=bert.tied(head, "text_encoder.embeddings"),
        marker=rf"^(?!(encoder\.)?({_OF_VIDEOS})\b)",
    )


def starts(own: RuleSet) -> tuple[RuleSet, RuleSet]:
    """The tables for checkpoints of the video side alone, from which training may start.

    Fine-tuned for action recognition, whose last norm and classifier are ignored, and pretrained.

    Args:
      own: the table of the network's own checkpoints.
    """
    names = [target for rule in own.rules for target in rule.targets]

    def start(pattern: str, marker: str) -> RuleSet:
        return dataclasses.replace(
            own,
            rules=tuple(rule for rule in own.rules if re.match(pattern, rule.targets[0])),
            ignored=(*own.ignored, r"(pos_embed$|fc_norm\.|head\.|norm/|head/)"),
            fresh={name: begun(name) for name in names if not re.match(pattern, name)},
            marker=marker,
        )

    recognition = start("vision/(?!norm/)", r"^fc_norm\.")
    return recognition, start("vision/", r"^(encoder\.)?norm\.")


def vision(source: str, target: str, depth: int, *, last_norm: bool = True) -> tuple[Rule, ...]:
    """UMT's video transformer; its position table is computed, not stored.

    Args:
      source: beginning of the PyTorch names, with its dot, or "".
      target: beginning of our paths.
      depth: number of blocks.
      last_norm: whether a norm follows the last block.
    """
    return (
        *linear(f"{source}patch_embed.proj", f"{target}/patch_embedding", Patches()),
        *blocks(f"{source}blocks", f"{target}/block", depth),
        *(norm(f"{source}norm", f"{target}/norm") if last_norm else ()),
    )


def blocks(source: str, target: str, depth: int) -> tuple[Rule, ...]:
    """The blocks of a ViT whose queries, keys and values are one layer, keys without a bias."""
    block, ours = f"{source}.{{i}}", f"{target}_{{i}}"
    attention = f"{ours}/attention"
    kernels = tuple(f"{attention}/{name}/kernel" for name in ("query", "key", "value"))
    layer = (
        *norm(f"{block}.norm1", f"{ours}/attention_norm"),
        Rule(f"{block}.attn.qkv.weight", kernels, Split(3)),
        Rule(f"{block}.attn.q_bias", (f"{attention}/query/bias",)),
        Rule(f"{block}.attn.v_bias", (f"{attention}/value/bias",)),
        *linear(f"{block}.attn.proj", f"{attention}/out"),
        *norm(f"{block}.norm2", f"{ours}/mlp_norm"),
        *linear(f"{block}.mlp.fc1", f"{ours}/mlp/hidden"),
        *linear(f"{block}.mlp.fc2", f"{ours}/mlp/out"),
    )
    return each(range(depth), layer)
