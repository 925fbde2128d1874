"""MSVD text-video retrieval, UMT-L/16 with vid-TLDR.

Target: UMT L/16 25M fine-tuned, without merging:
T2V R@1/5/10 58.2/83.9/89.6, V2T 82.4/94.6/96.7 (re-ranked),
here at 54 % of its vision cost (528.2 of 984.0 GMAC).
With vid-TLDR, as the harmonic mean of both R@1: 70.4 (its authors' Representation Shift, table 3).
Checkpoint: OpenGVLab/unmasked_teacher, ret_msvd_l16_25m.pth.
Zero-shot: the pretrained l16_25m.pth as CKPT; published T2V R@1 49.0, V2T 74.5, without merging.
Protocol: test split, about 40 captions per video, each a text of its own;
12 frames, 128 candidates re-ranked.
Command: tokmerge eval --config msvd_l16 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import umt
from tokmerge_jax.config.published import SHIFT, UMT_ZOO, UNMERGED, Published, recalls

PUBLISHED = (
    *recalls(UMT_ZOO, (58.2, 83.9, 89.6), (82.4, 94.6, 96.7), UNMERGED),
    Published("both", "harmonic mean of R@1", 70.4, SHIFT),
)


def get_config() -> umt.Retrieval:
    return umt.Retrieval(
        model=umt.RetrievalModel(
            vision=umt.L16,
            text=umt.L16_TEXT,
            embed_dim=768,
            merger=umt.Merger(r=(600, 200, 100, 100)),
            drop_path=0.3,
        ),
        data=umt.TextData(dataset="msvd", max_text_length=64),
        train=umt.RetrievalTraining(learning_rate=1e-5, epochs=3, warmup_epochs=0.0),
    )
