"""MSRVTT multiple choice, five captions a video, UMT-B/16.

Target: UMT B/16 25M fine-tuned on MSRVTT retrieval, accuracy 96.3, without merging: vid-TLDR
publishes no schedule. To try the one of retrieval:
--config.model.merger.name=vid_tldr --config.model.merger.r=600,200,100
Checkpoint: OpenGVLab/unmasked_teacher, ret_msrvtt_b16_25m.pth.
Protocol: msrvtt_mc_test, 12 frames, 0.7 matching + 0.3 contrast.
Command: tokmerge eval --config msrvtt_mc_b16 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import umt
from tokmerge_jax.config.published import UMT_ZOO, Published

PUBLISHED = (Published("all", "accuracy", 96.3, UMT_ZOO),)


def get_config() -> umt.Retrieval:
    return umt.Retrieval(
        model=umt.RetrievalModel(merger=umt.Merger(name="none")),
        data=umt.TextData(dataset="msrvtt_mc", max_text_length=32),
    )
