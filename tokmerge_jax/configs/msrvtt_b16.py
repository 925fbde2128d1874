"""MSRVTT text-video retrieval, UMT-B/16 with vid-TLDR.

Target: UMT B/16 25M fine-tuned, without merging:
T2V R@1/5/10 51.0/76.5/84.2, V2T 49.0/77.0/84.7 (re-ranked),
here at 59 % of its vision cost (177.8 of 303.1 GMAC).
With vid-TLDR, as the harmonic mean of both R@1: 50.8 (its authors' Representation Shift, table 3).
Checkpoint: OpenGVLab/unmasked_teacher, ret_msrvtt_b16_25m.pth.
Zero-shot: the pretrained b16_25m.pth as CKPT; published T2V R@1 35.2, V2T 30.3, without merging.
Protocol: test1k split, one caption per video;
12 frames, 128 candidates re-ranked.
Command: tokmerge eval --config msrvtt_b16 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import umt
from tokmerge_jax.config.published import SHIFT, UMT_ZOO, UNMERGED, Published, recalls

PUBLISHED = (
    *recalls(UMT_ZOO, (51.0, 76.5, 84.2), (49.0, 77.0, 84.7), UNMERGED),
    Published("both", "harmonic mean of R@1", 50.8, SHIFT),
)


def get_config() -> umt.Retrieval:
    return umt.Retrieval(
        model=umt.RetrievalModel(merger=umt.Merger(r=(600, 200, 100)), drop_path=0.2),
        data=umt.TextData(dataset="msrvtt", max_text_length=32),
        train=umt.RetrievalTraining(learning_rate=1e-5, epochs=10),
    )
