"""MSVD text-video retrieval by zero-shot VideoPrism-LvT-L at 288 pixels, no merging.

Target: none; its authors publish no number for this data set.
Cost: 818.3 GMAC for a video.
Checkpoint: google/videoprism-lvt-large-f8r288 on Hugging Face,
flax_lvt_large_f8r288_repeated.npz.
Protocol: test split, about 40 captions per video, each a text of its own;
8 frames at the starts of equal parts of a video, squashed to squares; texts in canonical form,
64 word pieces; cosines.
Command: tokmerge eval --config videoprism_msvd_l18 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import videoprism


def get_config() -> videoprism.Retrieval:
    return videoprism.Retrieval(
        model=videoprism.SIZES["l18"],
        data=videoprism.Data(dataset="msvd"),
    )
