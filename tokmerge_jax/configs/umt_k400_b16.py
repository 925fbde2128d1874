"""Kinetics-400 action recognition, UMT-B/16, whose first blocks may merge by vid-TLDR.

Target: top-1 87.4 (UMT's model zoo), without merging, as this configuration is; not reproduced
here, which would need its videos. With merging (--config.model.merger.r=400,130,70, for example:
107.9 GMAC), nothing is published.
Checkpoint: OpenGVLab/unmasked_teacher, b16_ptk710_ftk710_ftk400_f8_res224.pth.
Protocol: 8 frames, 3 crops x 4 clips, mean of the views' softmax; frames and crops are the
original's for every length of a video. `docs/vid_tldr.md` says where its training differs.
Cost: 179.4 GMAC per view; a video has 12 views.
Command: tokmerge eval --config umt_k400_b16 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import umt
from tokmerge_jax.config.published import UMT_ACTIONS, Published

PUBLISHED = (Published("all", "top-1", 87.4, UMT_ACTIONS),)


def get_config() -> umt.Recognition:
    return umt.Recognition(model=umt.RecognitionModel(drop_path=0.1), train=umt.FINE_TUNING)
