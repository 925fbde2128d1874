"""Kinetics-400 zero-shot action recognition by VideoPrism-LvT-B at 288 pixels, no merging.

Target: top-1 69.2 (its README).
Cost: 596.3 GMAC for a video.
ToMe, alike in all frames: --config.model.merger.name=tome --config.model.merger.r=16
leaves 64 of 256 places of a frame, at 46 % of the cost (273.0 GMAC); what it does to accuracy was
not measured.
Checkpoint: google/videoprism-lvt-base-f16r288 on Hugging Face,
flax_lvt_base_f16r288_repeated.npz.
Protocol: validation split; 16 frames at the starts of equal parts of a video, squashed to
squares; one prompt for each action, that of the original's example. Prompt, frames and squash are
inferred: the source does not name them.
Command: tokmerge eval --config videoprism_k400_b18 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import videoprism
from tokmerge_jax.config.published import VIDEOPRISM_README, Published

PUBLISHED = (Published("all", "top-1", 69.2, VIDEOPRISM_README),)


def get_config() -> videoprism.Retrieval:
    return videoprism.Retrieval(
        data=videoprism.Data(dataset="k400", split="val"),
    )
