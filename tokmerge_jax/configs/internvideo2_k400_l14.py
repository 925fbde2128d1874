"""Kinetics-400 zero-shot action recognition by InternVideo2-CLIP L14, no merging.

Target: top-1 70.7 (its MODEL_ZOO.md; the mean of top-1 and top-5 there: 80.5).
Cost: 830.7 GMAC for a video. vid-TLDR: --config.model.merger.name=vid_tldr
--config.model.merger.r="(480,352)" leaves 1217 of 2049 tokens at 56 % of the cost (461.3 GMAC);
what it does to accuracy was not measured.
Checkpoint: three files joined by commas: L14_dist_1B_stage2.pth
(OpenGVLab/InternVideo2_distillation_models), mobileclip_blt.pt (apple/ml-mobileclip) and
InternVideo2_CLIP_L14.pth. Or the one file of OpenGVLab/InternVideo2_CLIP_S, which is of this size
in spite of its name.
Protocol: validation split; 8 frames, 16 prompts for each action, the mean of their
cosines.
Command: tokmerge eval --config internvideo2_k400_l14 --config.checkpoint=VISION,TEXT,HEAD
"""

from tokmerge_jax.config import internvideo2
from tokmerge_jax.config.published import INTERNVIDEO2_ZOO, Published

PUBLISHED = (Published("all", "top-1", 70.7, INTERNVIDEO2_ZOO),)


def get_config() -> internvideo2.Retrieval:
    return internvideo2.Retrieval(
        model=internvideo2.L14,
        data=internvideo2.Data(dataset="k400", split="val"),
    )
