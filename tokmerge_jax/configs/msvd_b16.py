"""MSVD text-video retrieval, UMT-B/16 with vid-TLDR.

Target: UMT B/16 25M fine-tuned, without merging:
T2V R@1/5/10 50.8/79.7/86.2, V2T 73.3/89.6/93.7 (re-ranked),
here at 60 % of its vision cost (181.1 of 303.1 GMAC).
With vid-TLDR, as the harmonic mean of both R@1: 62.7 (its authors' Representation Shift, table 3).
Checkpoint: OpenGVLab/unmasked_teacher, ret_msvd_b16_25m.pth.
Zero-shot: the pretrained b16_25m.pth as CKPT; published T2V R@1 42.3, V2T 61.9, without merging.
Protocol: test split, about 40 captions per video, each a text of its own;
12 frames, 128 candidates re-ranked.
Command: tokmerge eval --config msvd_b16 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import umt
from tokmerge_jax.config.published import SHIFT, UMT_ZOO, UNMERGED, Published, recalls

PUBLISHED = (
    *recalls(UMT_ZOO, (50.8, 79.7, 86.2), (73.3, 89.6, 93.7), UNMERGED),
    Published("both", "harmonic mean of R@1", 62.7, SHIFT),
)


def get_config() -> umt.Retrieval:
    return umt.Retrieval(
        model=umt.RetrievalModel(merger=umt.Merger(r=(450, 250, 200)), drop_path=0.2),
        data=umt.TextData(dataset="msvd", max_text_length=64),
        train=umt.RetrievalTraining(learning_rate=1e-5, epochs=5, warmup_epochs=0.0),
    )
