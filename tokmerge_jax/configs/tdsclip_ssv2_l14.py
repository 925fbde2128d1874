"""Something-Something V2 action recognition, CLIP ViT-L/14 with TDS-CLIP.

Target: top-1 73.4 (the original's README); not reproduced here, which would need its videos.
Checkpoint: BBLY9413/TDS-CLIP on Hugging Face (the file of this row; `docs/tds_clip.md`), CKPT.
Side4Video, the same without differences: --config.model.side.differences=False;
top-1 71.9 (its README).
Protocol: 8 segments of 5 neighbouring frames, 3 crops x 2 clips, mean of the views' softmax.
A video is a folder of frames, or a file.
Cost: 878.3 GMAC per view; a video has 6 views.
Command: tokmerge eval --config tdsclip_ssv2_l14 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import tds_clip
from tokmerge_jax.config.published import TDSCLIP_README, Published

PUBLISHED = (Published("all", "top-1", 73.4, TDSCLIP_README),)


def get_config() -> tds_clip.Recognition:
    return tds_clip.Recognition(
        model=tds_clip.Model(vision=tds_clip.L14, side=tds_clip.L14_SIDE),
        data=tds_clip.ActionData(dataset="ssv2"),
        train=tds_clip.Training(learning_rate=1e-4),
    )
