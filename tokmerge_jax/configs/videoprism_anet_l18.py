"""ActivityNet text-video retrieval by zero-shot VideoPrism-LvT-L at 288 pixels, no merging.

Target: T2V R@1 51.3, V2T 49.1 (the README's table, which does not name its metric).
Cost: 818.3 GMAC for a video.
Checkpoint: google/videoprism-lvt-large-f8r288 on Hugging Face,
flax_lvt_large_f8r288_repeated.npz.
Protocol: val split, a video's captions joined to a paragraph, cut to 64 word pieces;
8 frames at the starts of equal parts of a video, squashed to squares; texts in canonical form,
64 word pieces; cosines. Split and squash are inferred: the source does not name them.
Command: tokmerge eval --config videoprism_anet_l18 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import videoprism
from tokmerge_jax.config.published import VIDEOPRISM_README, recalls

PUBLISHED = recalls(VIDEOPRISM_README, (51.3,), (49.1,))


def get_config() -> videoprism.Retrieval:
    return videoprism.Retrieval(
        model=videoprism.SIZES["l18"],
        data=videoprism.Data(dataset="anet", paragraph=True),
    )
