"""MSRVTT text-video retrieval by zero-shot VideoPrism-LvT-B at 288 pixels, no merging.

Target: T2V R@1 50.1, V2T 49.8 (the README's table, which does not name its metric).
Cost: 596.3 GMAC for a video.
ToMe, alike in all frames: --config.model.merger.name=tome --config.model.merger.r=16
leaves 64 of 256 places of a frame, at 46 % of the cost (273.0 GMAC); what it does to accuracy was
not measured.
Checkpoint: google/videoprism-lvt-base-f16r288 on Hugging Face,
flax_lvt_base_f16r288_repeated.npz.
Protocol: 1k-A test split, one caption per video;
16 frames at the starts of equal parts of a video, squashed to squares; texts in canonical form,
64 word pieces; cosines. Split and squash are inferred: the source does not name them.
Command: tokmerge eval --config videoprism_msrvtt_b18 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import videoprism
from tokmerge_jax.config.published import VIDEOPRISM_README, recalls

PUBLISHED = recalls(VIDEOPRISM_README, (50.1,), (49.8,))


def get_config() -> videoprism.Retrieval:
    return videoprism.Retrieval(
        data=videoprism.Data(dataset="msrvtt"),
    )
