"""ActivityNet Captions text-video retrieval, UMT-B/16 with vid-TLDR.

Target: UMT B/16 25M fine-tuned, without merging:
T2V R@1/5/10 58.3/83.9/91.5, V2T 56.0/83.5/91.7 (re-ranked),
here at 75 % of its vision cost (227.4 of 303.1 GMAC).
With vid-TLDR, as the harmonic mean of both R@1: 56.6 (its authors' Representation Shift, table 3).
Checkpoint: OpenGVLab/unmasked_teacher, ret_anet_b16_25m.pth.
Zero-shot: the pretrained b16_25m.pth as CKPT; published T2V R@1 35.5, V2T 32.8, without merging.
Protocol: val split, a video's captions joined to a paragraph;
12 frames, 128 candidates re-ranked.
Command: tokmerge eval --config anet_b16 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import umt
from tokmerge_jax.config.published import SHIFT, UMT_ZOO, UNMERGED, Published, recalls

PUBLISHED = (
    *recalls(UMT_ZOO, (58.3, 83.9, 91.5), (56.0, 83.5, 91.7), UNMERGED),
    Published("both", "harmonic mean of R@1", 56.6, SHIFT),
)


def get_config() -> umt.Retrieval:
    return umt.Retrieval(
        model=umt.RetrievalModel(merger=umt.Merger(r=(500,)), drop_path=0.1),
        data=umt.TextData(dataset="anet", max_text_length=150, paragraph=True),
        train=umt.RetrievalTraining(learning_rate=4e-5, epochs=20),
    )
