"""What the TempMe configs share: CLIP B/32 and B/16 that merge, tuned by LoRA or as a whole.

Source: TempMe (ICLR 2025); `docs/tempme.md` names every key.
"""

from ml_collections import ConfigDict

from configs.base import clip
from tokmerge_jax.types import UserError

_JOINS = {12: (2, 2, 3), 64: (4, 4, 4)}  # clips that become one in layers 8, 9 and 10

_MERGING = {"b32": (2, 30.0, 10.0), "b16": (10, 40.0, 20.0)}
"""Patches of a frame, and per cent across and within joined clips, as in the paper's tables.

The proportions of B/16 are printed nowhere: they are those that give its tokens and cost. The
published script has B/32's alone.
"""


def get_config(size: str, variant: str, frames: int = 12) -> ConfigDict:
    """The shared keys.

    Args:
      size: "b32" or "b16".
      variant: "lora": LoRA and positions alone, as published; "full": all parameters, CLIP's own
        at the rate of CLIP4Clip; of B/16 also "script": LoRA, and merging as in the script.
      frames: of a video, 12 or 64.

    Raises:
      UserError: if there is no such variant.
    """
    variants = ("lora", "full", "script") if size == "b16" else ("lora", "full")
    if variant not in variants:
        others = " or ".join(f":{name}" for name in variants[1:])
        raise UserError(f"--config=...py:{variant} is no variant of it; write {others}, or nothing")
    config = clip.get_config(size)
    config.model.vision.frames = frames
    config.model.join.clips = _JOINS[frames]
    r, cross, intra = _MERGING["b32" if variant == "script" else size]
    config.model.merger.update(name="tempme", r=r)
    config.model.join.update(cross=cross, intra=intra)
    if variant == "full":
        config.train.learning_rate = 1e-4
        config.train.backbone_rate = 1e-3
    else:
        config.model.lora_rank = 8
    return config
