"""DiDeMo text-video retrieval by zero-shot InternVideo2-CLIP B14, no merging.

Target: T2V R@1 40.3, V2T R@1 39.1. Their source does not say whether scores are reweighted:
--config.eval.dual_softmax=1 gives those.
Cost: 254.8 GMAC for a video. vid-TLDR: --config.model.merger.name=vid_tldr
--config.model.merger.r="(512,176,88)" leaves 1273 of 2049 tokens at 60 % of the cost (151.8 GMAC);
what it does to accuracy was not measured.
Checkpoint: three files joined by commas: B14_dist_1B_stage2.pth
(OpenGVLab/InternVideo2_distillation_models), mobileclip_blt.pt (apple/ml-mobileclip) and
InternVideo2_CLIP_B14.pth.
Protocol: test split, captions joined to a paragraph, first 30 seconds; 8 frames, 77 word pieces,
cosines.
Command: tokmerge eval --config internvideo2_didemo_b14 --config.checkpoint=VISION,TEXT,HEAD
"""

from tokmerge_jax.config import internvideo2
from tokmerge_jax.config.published import INTERNVIDEO2_ZOO, recalls

PUBLISHED = recalls(INTERNVIDEO2_ZOO, (40.3,), (39.1,))


def get_config() -> internvideo2.Retrieval:
    return internvideo2.Retrieval(
        data=internvideo2.Data(dataset="didemo", paragraph=True, trim_seconds=30),
    )
