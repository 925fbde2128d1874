"""UMT's checkpoints for action recognition, and those that its fine-tuning may start from."""

from collections.abc import Callable

import numpy as np

from tokmerge_jax.checkpoints.rules import RuleSet
from tokmerge_jax.checkpoints.tables.shared import begun, linear, norm
from tokmerge_jax.checkpoints.tables.vid_tldr import vision

_RENAMES = ((r"^(vision_encoder\.)?encoder\.", ""),)
_POSITIONS = (
    "the position table of config.model.vision.frames and image_size (set the checkpoint's)"
)
_UNREAD = (  # of other checkpoints, under the original's names or ours
    r"(norm|clip_decoder|clip_teacher|vision_encoder\.pool_norm|vision_proj)\.",
    r"(text_encoder|text_decoder|text_proj|itm_head)\.",
    r"temp$",
    r"(vision/norm|pool_norm|vision_projection|text|text_projection|match_head|decoder)/",
    r"temperature$",
)


def rules(depth: int, positions: Callable[[], np.ndarray]) -> tuple[RuleSet, ...]:
    """The tables for UMT with `depth` video layers, by kind of checkpoint.

    Fine-tuned for recognition, whose classifier may begin anew for other actions; and, as a start
    for training, any other checkpoint of UMT: from pretraining on videos, and of retrieval or
    question answering. From these, the blocks are read. Checkpoints for other sizes than 8 frames
    of 224 pixels store their positions, which are never trained: they must be the network's.

    Args:
      depth: number of video layers.
      positions: returns the network's position table [N,C].
    """
    computed = {"pos_embed": (_POSITIONS, positions)}
    blocks = vision("", "vision", depth, last_norm=False)
    classifier = linear("head", "head")
    head = (*norm("fc_norm", "norm"), *classifier)
    fine_tuned = RuleSet(
        (*blocks, *head),
        computed=computed,
        renames=_RENAMES,
        restart={target: begun(target) for rule in classifier for target in rule.targets},
        marker=r"(^|\.)fc_norm\.",
    )
    start = RuleSet(
        blocks,
        ignored=_UNREAD,
        computed=computed,
        renames=_RENAMES,
        fresh={target: begun(target) for rule in head for target in rule.targets},
    )
    return fine_tuned, start
