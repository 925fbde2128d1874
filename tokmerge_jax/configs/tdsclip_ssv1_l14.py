"""Something-Something V1 action recognition, CLIP ViT-L/14 with TDS-CLIP.

Target: top-1 63.0, top-5 87.8 (a public leaderboard); not reproduced here, which would need its
videos.
Checkpoint: none is published; `tokmerge train` starts from OpenAI's ViT-L-14.pt
(`docs/tds_clip.md`). CKPT is its result.
Side4Video, the same without differences: --config.model.side.differences=False;
top-1 61.0 (its README).
Protocol: 8 segments of 5 neighbouring frames, 3 crops x 2 clips, mean of the views' softmax.
A video is a folder of frames, or a file.
Cost: 878.3 GMAC per view; a video has 6 views.
Command: tokmerge eval --config tdsclip_ssv1_l14 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import tds_clip
from tokmerge_jax.config.published import LEADERBOARD, Published

PUBLISHED = (
    Published("all", "top-1", 63.0, LEADERBOARD),
    Published("all", "top-5", 87.8, LEADERBOARD),
)


def get_config() -> tds_clip.Recognition:
    return tds_clip.Recognition(
        model=tds_clip.Model(vision=tds_clip.L14, side=tds_clip.L14_SIDE),
        data=tds_clip.ActionData(dataset="ssv1"),
        train=tds_clip.Training(learning_rate=1e-4),
    )
