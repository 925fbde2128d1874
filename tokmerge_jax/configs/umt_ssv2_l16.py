"""Something-Something V2 action recognition, UMT-L/16, whose first blocks may merge by vid-TLDR.

Target: top-1 74.7 (UMT's model zoo), without merging, as this configuration is; not reproduced
here, which would need its videos. With merging (--config.model.merger.r=400,200, for example: 349.6
GMAC), nothing is published.
Checkpoint: OpenGVLab/unmasked_teacher, l16_ptk710_ftk710_ftssv2_f8_res224.pth.
Protocol: 8 frames, 3 crops x 2 clips, as in its script (its zoo says 4 clips, which its reader of
video files does not make); mean of the views' softmax; frames and crops are the original's for
every length of a video. `docs/vid_tldr.md` says where its training differs.
Cost: 595.6 GMAC per view; a video has 6 views.
Command: tokmerge eval --config umt_ssv2_l16 --config.checkpoint=CKPT
"""

from dataclasses import replace

from tokmerge_jax.config import umt
from tokmerge_jax.config.published import UMT_ACTIONS, Published

PUBLISHED = (Published("all", "top-1", 74.7, UMT_ACTIONS),)


def get_config() -> umt.Recognition:
    return umt.Recognition(
        model=umt.RecognitionModel(vision=umt.L16_CLIP, classes=174, drop_path=0.2),
        data=umt.SOMETHING,
        train=replace(
            umt.FINE_TUNING,
            learning_rate=8e-4,
            min_learning_rate=0.0025,
            epochs=14,
            warmup_epochs=4.0,
            layer_decay=0.85,
            flip=False,
        ),
    )
