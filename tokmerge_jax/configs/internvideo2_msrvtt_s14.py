"""MSRVTT text-video retrieval by zero-shot InternVideo2-CLIP S14, no merging.

Target: T2V R@1 35.6, V2T R@1 35.9. Their source does not say whether scores are reweighted:
--config.eval.dual_softmax=1 gives those.
Cost: 83.3 GMAC for a video. vid-TLDR: --config.model.merger.name=vid_tldr
--config.model.merger.r="(512,176,88)" leaves 1273 of 2049 tokens at 57 % of the cost (47.4 GMAC);
what it does to accuracy was not measured.
Checkpoint: three files joined by commas: S14_dist_1B_stage2.pth
(OpenGVLab/InternVideo2_distillation_models), mobileclip_blt.pt (apple/ml-mobileclip) and
InternVideo2_CLIP_S14.pth.
Protocol: 1k-A test split, one caption per video; 8 frames, 77 word pieces, cosines.
Command: tokmerge eval --config internvideo2_msrvtt_s14 --config.checkpoint=VISION,TEXT,HEAD
"""

from tokmerge_jax.config import internvideo2
from tokmerge_jax.config.published import INTERNVIDEO2_ZOO, recalls

PUBLISHED = recalls(INTERNVIDEO2_ZOO, (35.6,), (35.9,))


def get_config() -> internvideo2.Retrieval:
    return internvideo2.Retrieval(
        model=internvideo2.S14,
        data=internvideo2.Data(dataset="msrvtt"),
    )
