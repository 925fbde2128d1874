"""Kinetics-400 action recognition, CLIP ViT-B/16 with TDS-CLIP.

Target: top-1 83.9 (the original's README); not reproduced here, which would need its videos.
Checkpoint: BBLY9413/TDS-CLIP on Hugging Face (the file of this row; `docs/tds_clip.md`), CKPT.
Side4Video, the same without differences: --config.model.side.differences=False;
top-1 83.6 (its README), its own checkpoint loads.
Protocol: 8 segments of 5 neighbouring frames, 3 crops x 4 clips, mean of the views' softmax.
A video is a file; frames before its first are its last ones, as there.
Cost: 180.6 GMAC per view; a video has 12 views.
Command: tokmerge eval --config tdsclip_k400_b16 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import tds_clip
from tokmerge_jax.config.published import TDSCLIP_README, Published

PUBLISHED = (Published("all", "top-1", 83.9, TDSCLIP_README),)


def get_config() -> tds_clip.Recognition:
    return tds_clip.Recognition(
        model=tds_clip.Model(classes=400),
        data=tds_clip.KINETICS,
        train=tds_clip.Training(augment=False, grey=0.2),
    )
