"""DiDeMo text-video retrieval by zero-shot InternVideo2-CLIP L14, no merging.

Target: T2V R@1 42.8, V2T R@1 43.2. Their source does not say whether scores are reweighted:
--config.eval.dual_softmax=1 gives those.
Cost: 830.7 GMAC for a video. vid-TLDR: --config.model.merger.name=vid_tldr
--config.model.merger.r="(480,352)" leaves 1217 of 2049 tokens at 56 % of the cost (461.3 GMAC);
what it does to accuracy was not measured.
Checkpoint: three files joined by commas: L14_dist_1B_stage2.pth
(OpenGVLab/InternVideo2_distillation_models), mobileclip_blt.pt (apple/ml-mobileclip) and
InternVideo2_CLIP_L14.pth. Or the one file of OpenGVLab/InternVideo2_CLIP_S, which is of this size
in spite of its name.
Protocol: test split, captions joined to a paragraph, first 30 seconds; 8 frames, 77 word pieces,
cosines.
Command: tokmerge eval --config internvideo2_didemo_l14 --config.checkpoint=VISION,TEXT,HEAD
"""

from tokmerge_jax.config import internvideo2
from tokmerge_jax.config.published import INTERNVIDEO2_ZOO, recalls

PUBLISHED = recalls(INTERNVIDEO2_ZOO, (42.8,), (43.2,))


def get_config() -> internvideo2.Retrieval:
    return internvideo2.Retrieval(
        model=internvideo2.L14,
        data=internvideo2.Data(dataset="didemo", paragraph=True, trim_seconds=30),
    )
