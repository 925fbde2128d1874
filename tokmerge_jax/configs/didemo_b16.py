"""DiDeMo text-video retrieval, UMT-B/16 with vid-TLDR.

Target: UMT B/16 25M fine-tuned, without merging:
T2V R@1/5/10 61.6/86.8/91.5, V2T 59.5/84.9/90.5 (re-ranked),
here at 70 % of its vision cost (212.6 of 303.1 GMAC).
With vid-TLDR, as the harmonic mean of both R@1: 62.4 (its authors' Representation Shift, table 3).
Checkpoint: OpenGVLab/unmasked_teacher, ret_didemo_b16_25m.pth.
Zero-shot: the pretrained b16_25m.pth as CKPT; published T2V R@1 41.2, V2T 40.8, without merging.
Protocol: test split, captions joined to a paragraph, first 30 seconds;
12 frames, 128 candidates re-ranked.
Command: tokmerge eval --config didemo_b16 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import umt
from tokmerge_jax.config.published import SHIFT, UMT_ZOO, UNMERGED, Published, recalls

PUBLISHED = (
    *recalls(UMT_ZOO, (61.6, 86.8, 91.5), (59.5, 84.9, 90.5), UNMERGED),
    Published("both", "harmonic mean of R@1", 62.4, SHIFT),
)


def get_config() -> umt.Retrieval:
    return umt.Retrieval(
        model=umt.RetrievalModel(merger=umt.Merger(r=(250, 150, 150, 150)), drop_path=0.1),
        data=umt.TextData(dataset="didemo", max_text_length=64, paragraph=True, trim_seconds=30),
        train=umt.RetrievalTraining(learning_rate=2e-5, epochs=12, eval_split="val"),
    )
