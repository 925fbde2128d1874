"""Something-Something V1 action recognition, CLIP ViT-B/16 with TDS-CLIP.

Target: top-1 60.1 (the original's README); not reproduced here, which would need its videos.
Checkpoint: BBLY9413/TDS-CLIP on Hugging Face (the file of this row; `docs/tds_clip.md`), CKPT.
Side4Video, the same without differences: --config.model.side.differences=False;
top-1 59.4 (its README), its own checkpoint loads.
Protocol: 8 segments of 5 neighbouring frames, 3 crops x 2 clips, mean of the views' softmax.
A video is a folder of frames, or a file.
Cost: 180.6 GMAC per view; a video has 6 views.
Command: tokmerge eval --config tdsclip_ssv1_b16 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import tds_clip
from tokmerge_jax.config.published import TDSCLIP_README, Published

PUBLISHED = (Published("all", "top-1", 60.1, TDSCLIP_README),)


def get_config() -> tds_clip.Recognition:
    return tds_clip.Recognition(
        data=tds_clip.ActionData(dataset="ssv1"),
        train=tds_clip.Training(epochs=40),
    )
