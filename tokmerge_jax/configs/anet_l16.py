"""ActivityNet Captions text-video retrieval, UMT-L/16 with vid-TLDR.

Target: UMT L/16 25M fine-tuned, without merging:
T2V R@1/5/10 66.8/89.1/94.9, V2T 64.4/89.1/94.8 (re-ranked),
here at 57 % of its vision cost (562.7 of 984.0 GMAC).
With vid-TLDR, as the harmonic mean of both R@1: 65.2 (its authors' Representation Shift, table 3).
Checkpoint: OpenGVLab/unmasked_teacher, ret_anet_l16_25m.pth.
Zero-shot: the pretrained l16_25m.pth as CKPT; published T2V R@1 41.9, V2T 39.4, without merging.
Protocol: val split, a video's captions joined to a paragraph;
12 frames, 128 candidates re-ranked.
Command: tokmerge eval --config anet_l16 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import umt
from tokmerge_jax.config.published import SHIFT, UMT_ZOO, UNMERGED, Published, recalls

PUBLISHED = (
    *recalls(UMT_ZOO, (66.8, 89.1, 94.9), (64.4, 89.1, 94.8), UNMERGED),
    Published("both", "harmonic mean of R@1", 65.2, SHIFT),
)


def get_config() -> umt.Retrieval:
    return umt.Retrieval(
        model=umt.RetrievalModel(
            vision=umt.L16,
            text=umt.L16_TEXT,
            embed_dim=768,
            merger=umt.Merger(r=(600, 300)),
            drop_path=0.2,
        ),
        data=umt.TextData(dataset="anet", max_text_length=150, paragraph=True),
        train=umt.RetrievalTraining(learning_rate=4e-5, epochs=20),
    )
