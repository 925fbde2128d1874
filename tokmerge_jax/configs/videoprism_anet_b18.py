"""ActivityNet text-video retrieval by zero-shot VideoPrism-LvT-B at 288 pixels, no merging.

Target: T2V R@1 48.8, V2T 47.9 (the README's table, which does not name its metric).
Cost: 596.3 GMAC for a video.
Checkpoint: google/videoprism-lvt-base-f16r288 on Hugging Face,
flax_lvt_base_f16r288_repeated.npz.
Protocol: val split, a video's captions joined to a paragraph, cut to 64 word pieces;
16 frames at the starts of equal parts of a video, squashed to squares; texts in canonical form,
64 word pieces; cosines. Split and squash are inferred: the source does not name them.
Command: tokmerge eval --config videoprism_anet_b18 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import videoprism
from tokmerge_jax.config.published import VIDEOPRISM_README, recalls

PUBLISHED = recalls(VIDEOPRISM_README, (48.8,), (47.9,))


def get_config() -> videoprism.Retrieval:
    return videoprism.Retrieval(
        data=videoprism.Data(dataset="anet", paragraph=True),
    )
