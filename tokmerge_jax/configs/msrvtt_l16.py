"""MSRVTT text-video retrieval, UMT-L/16 with vid-TLDR.

Target: UMT L/16 25M fine-tuned, without merging:
T2V R@1/5/10 58.8/81.0/87.1, V2T 58.6/81.6/86.5 (re-ranked),
here at 55 % of its vision cost (543.0 of 984.0 GMAC).
With vid-TLDR, as the harmonic mean of both R@1: 58.5 (its authors' Representation Shift, table 3).
Checkpoint: OpenGVLab/unmasked_teacher, ret_msrvtt_l16_25m.pth.
Zero-shot: the pretrained l16_25m.pth as CKPT; published T2V R@1 40.7, V2T 37.1, without merging.
Protocol: test1k split, one caption per video;
12 frames, 128 candidates re-ranked.
Command: tokmerge eval --config msrvtt_l16 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import umt
from tokmerge_jax.config.published import SHIFT, UMT_ZOO, UNMERGED, Published, recalls

PUBLISHED = (
    *recalls(UMT_ZOO, (58.8, 81.0, 87.1), (58.6, 81.6, 86.5), UNMERGED),
    Published("both", "harmonic mean of R@1", 58.5, SHIFT),
)


def get_config() -> umt.Retrieval:
    return umt.Retrieval(
        model=umt.RetrievalModel(
            vision=umt.L16,
            text=umt.L16_TEXT,
            embed_dim=768,
            merger=umt.Merger(r=(550, 400)),
            drop_path=0.3,
        ),
        data=umt.TextData(dataset="msrvtt", max_text_length=32),
        train=umt.RetrievalTraining(learning_rate=2e-5, epochs=7),
    )
