"""MSRVTT text-video retrieval by zero-shot VideoPrism-LvT-L at 288 pixels, no merging.

Target: T2V R@1 50.1, V2T 50.6 (the README's table, which does not name its metric).
Cost: 818.3 GMAC for a video.
ToMe, alike in all frames: --config.model.merger.name=tome --config.model.merger.r=8
leaves 64 of 256 places of a frame, at 53 % of the cost (437.0 GMAC); what it does to accuracy was
not measured.
Checkpoint: google/videoprism-lvt-large-f8r288 on Hugging Face,
flax_lvt_large_f8r288_repeated.npz.
Protocol: 1k-A test split, one caption per video;
8 frames at the starts of equal parts of a video, squashed to squares; texts in canonical form,
64 word pieces; cosines. Split and squash are inferred: the source does not name them.
Command: tokmerge eval --config videoprism_msrvtt_l18 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import videoprism
from tokmerge_jax.config.published import VIDEOPRISM_README, recalls

PUBLISHED = recalls(VIDEOPRISM_README, (50.1,), (50.6,))


def get_config() -> videoprism.Retrieval:
    return videoprism.Retrieval(
        model=videoprism.SIZES["l18"],
        data=videoprism.Data(dataset="msrvtt"),
    )
