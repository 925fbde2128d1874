"""Kinetics-400 action recognition, UMT-L/16, whose first blocks may merge by vid-TLDR.

Target: top-1 90.3 (UMT's model zoo), without merging, as this configuration is; not reproduced
here, which would need its videos. With merging (--config.model.merger.r=400,200, for example: 349.6
GMAC), nothing is published.
Checkpoint: OpenGVLab/unmasked_teacher, l16_ptk710_ftk710_ftk400_f8_res224.pth. The one for 16
frames (..._f16_res224.pth, top-1 90.6) is read with --config.model.vision.frames=16.
Protocol: 8 frames, 3 crops x 4 clips, mean of the views' softmax; frames and crops are the
original's for every length of a video. `docs/vid_tldr.md` says where its training differs.
Cost: 595.6 GMAC per view; a video has 12 views.
Command: tokmerge eval --config umt_k400_l16 --config.checkpoint=CKPT
"""

from dataclasses import replace

from tokmerge_jax.config import umt
from tokmerge_jax.config.published import UMT_ACTIONS, Published

PUBLISHED = (Published("all", "top-1", 90.3, UMT_ACTIONS),)


def get_config() -> umt.Recognition:
    return umt.Recognition(
        model=umt.RecognitionModel(vision=umt.L16_CLIP, drop_path=0.2),
        train=replace(umt.FINE_TUNING, learning_rate=2e-5, min_learning_rate=0.1, layer_decay=0.85),
    )
