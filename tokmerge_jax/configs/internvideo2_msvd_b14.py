"""MSVD text-video retrieval by zero-shot InternVideo2-CLIP B14, no merging.

Target: none is published for this data set.
Cost: 254.8 GMAC for a video. vid-TLDR: --config.model.merger.name=vid_tldr
--config.model.merger.r="(512,176,88)" leaves 1273 of 2049 tokens at 60 % of the cost (151.8 GMAC);
what it does to accuracy was not measured.
Checkpoint: three files joined by commas: B14_dist_1B_stage2.pth
(OpenGVLab/InternVideo2_distillation_models), mobileclip_blt.pt (apple/ml-mobileclip) and
InternVideo2_CLIP_B14.pth.
Protocol: test split, about 40 captions per video, each a text of its own; 8 frames, 77 word pieces,
cosines.
Command: tokmerge eval --config internvideo2_msvd_b14 --config.checkpoint=VISION,TEXT,HEAD
"""

from tokmerge_jax.config import internvideo2


def get_config() -> internvideo2.Retrieval:
    return internvideo2.Retrieval(
        data=internvideo2.Data(dataset="msvd"),
    )
