"""Kinetics-400 zero-shot action recognition by VideoPrism-LvT-L at 288 pixels, no merging.

Target: top-1 72.4 (its README).
Cost: 818.3 GMAC for a video.
ToMe, alike in all frames: --config.model.merger.name=tome --config.model.merger.r=8
leaves 64 of 256 places of a frame, at 53 % of the cost (437.0 GMAC); what it does to accuracy was
not measured.
Checkpoint: google/videoprism-lvt-large-f8r288 on Hugging Face,
flax_lvt_large_f8r288_repeated.npz.
Protocol: validation split; 8 frames at the starts of equal parts of a video, squashed to
squares; one prompt for each action, that of the original's example. Prompt, frames and squash are
inferred: the source does not name them.
Command: tokmerge eval --config videoprism_k400_l18 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import videoprism
from tokmerge_jax.config.published import VIDEOPRISM_README, Published

PUBLISHED = (Published("all", "top-1", 72.4, VIDEOPRISM_README),)


def get_config() -> videoprism.Retrieval:
    return videoprism.Retrieval(
        model=videoprism.SIZES["l18"],
        data=videoprism.Data(dataset="k400", split="val"),
    )
