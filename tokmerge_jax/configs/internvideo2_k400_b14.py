"""Kinetics-400 zero-shot action recognition by InternVideo2-CLIP B14, no merging.

Target: top-1 67.7 (its MODEL_ZOO.md; the mean of top-1 and top-5 there: 78.0).
Cost: 254.8 GMAC for a video. vid-TLDR: --config.model.merger.name=vid_tldr
--config.model.merger.r="(512,176,88)" leaves 1273 of 2049 tokens at 60 % of the cost (151.8 GMAC);
what it does to accuracy was not measured.
Checkpoint: three files joined by commas: B14_dist_1B_stage2.pth
(OpenGVLab/InternVideo2_distillation_models), mobileclip_blt.pt (apple/ml-mobileclip) and
InternVideo2_CLIP_B14.pth.
Protocol: validation split; 8 frames, 16 prompts for each action, the mean of their
cosines.
Command: tokmerge eval --config internvideo2_k400_b14 --config.checkpoint=VISION,TEXT,HEAD
"""

from tokmerge_jax.config import internvideo2
from tokmerge_jax.config.published import INTERNVIDEO2_ZOO, Published

PUBLISHED = (Published("all", "top-1", 67.7, INTERNVIDEO2_ZOO),)


def get_config() -> internvideo2.Retrieval:
    return internvideo2.Retrieval(
        data=internvideo2.Data(dataset="k400", split="val"),
    )
