"""LSMDC text-video retrieval, UMT-B/16 with vid-TLDR.

Target: UMT B/16 25M fine-tuned, without merging:
T2V R@1/5/10 32.7/54.7/63.4, V2T 32.7/53.5/63.2 (re-ranked),
here at 68 % of its vision cost (206.0 of 303.1 GMAC).
With vid-TLDR, as the harmonic mean of both R@1: 32.4 (its authors' Representation Shift, table 3).
Checkpoint: OpenGVLab/unmasked_teacher, ret_lsmdc_b16_25m.pth.
Zero-shot: the pretrained b16_25m.pth as CKPT; published T2V R@1 19.1, V2T 15.7, without merging.
Protocol: test1000 split, one caption per video;
12 frames, 128 candidates re-ranked.
Command: tokmerge eval --config lsmdc_b16 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import umt
from tokmerge_jax.config.published import SHIFT, UMT_ZOO, UNMERGED, Published, recalls

PUBLISHED = (
    *recalls(UMT_ZOO, (32.7, 54.7, 63.4), (32.7, 53.5, 63.2), UNMERGED),
    Published("both", "harmonic mean of R@1", 32.4, SHIFT),
)


def get_config() -> umt.Retrieval:
    return umt.Retrieval(
        model=umt.RetrievalModel(merger=umt.Merger(r=(400, 150, 150)), drop_path=0.2),
        data=umt.TextData(dataset="lsmdc", max_text_length=96),
        train=umt.RetrievalTraining(learning_rate=2e-5, epochs=10),
    )
