"""What the TempMe configs share: CLIP B/32 and B/16 that merge, tuned by LoRA or as a whole.

Source: TempMe (ICLR 2025); `docs/tempme.md` names every key.
"""

from ml_collections import ConfigDict

from configs.base import clip
from tokmerge_jax.types import UserError

_JOINS = {12: (2, 2, 3), 64: (4, 4, 4)}  # clips that become one in layers 8, 9 and 10


def get_config(variant: str, tuning: str, frames: int = 12) -> ConfigDict:
    """The shared keys.

    Args:
      variant: "b32" or "b16".
      tuning: "lora": LoRA and positions alone, as published; "full": all parameters, CLIP's own
        at the rate of CLIP4Clip.
      frames: of a video, 12 or 64.
    """
    config = clip.get_config(variant)
    config.model.vision.frames = frames
    config.model.merger.name = "tempme"
    config.model.merger.r = 2
    config.model.join.clips = _JOINS[frames]
    if tuning == "lora":
        config.model.lora_rank = 8
    elif tuning == "full":
        config.train.learning_rate = 1e-4
        config.train.backbone_rate = 1e-3
    else:
        raise UserError(f"--config=...py:{tuning} is no variant of TempMe; write :full, or nothing")
    return config
