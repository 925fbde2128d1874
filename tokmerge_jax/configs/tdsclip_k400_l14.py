"""Kinetics-400 action recognition, CLIP ViT-L/14 with TDS-CLIP.

Target: none is published.
Checkpoint: none is published; `tokmerge train` starts from OpenAI's ViT-L-14.pt
(`docs/tds_clip.md`). CKPT is its result.
Side4Video, the same without differences: --config.model.side.differences=False.
Protocol: 8 segments of 5 neighbouring frames, 3 crops x 4 clips, mean of the views' softmax.
A video is a file; frames before its first are its last ones, as there.
Cost: 878.3 GMAC per view; a video has 12 views.
Command: tokmerge eval --config tdsclip_k400_l14 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import tds_clip


def get_config() -> tds_clip.Recognition:
    return tds_clip.Recognition(
        model=tds_clip.Model(vision=tds_clip.L14, side=tds_clip.L14_SIDE, classes=400),
        data=tds_clip.KINETICS,
        train=tds_clip.Training(learning_rate=1e-4, augment=False, grey=0.2),
    )
