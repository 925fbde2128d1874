"""DiDeMo text-video retrieval by zero-shot VideoPrism-LvT-B at 288 pixels, no merging.

Target: none; its authors publish no number for this data set.
Cost: 596.3 GMAC for a video.
Checkpoint: google/videoprism-lvt-base-f16r288 on Hugging Face,
flax_lvt_base_f16r288_repeated.npz.
Protocol: test split, captions joined to a paragraph, first 30 seconds;
16 frames at the starts of equal parts of a video, squashed to squares; texts in canonical form,
64 word pieces; cosines.
Command: tokmerge eval --config videoprism_didemo_b18 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import videoprism


def get_config() -> videoprism.Retrieval:
    return videoprism.Retrieval(
        data=videoprism.Data(dataset="didemo", paragraph=True, trim_seconds=30),
    )
