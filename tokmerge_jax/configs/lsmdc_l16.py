"""LSMDC text-video retrieval, UMT-L/16 with vid-TLDR.

Target: UMT L/16 25M fine-tuned, without merging:
T2V R@1/5/10 43.0/65.5/73.0, V2T 41.4/64.3/71.5 (re-ranked),
here at 59 % of its vision cost (583.3 of 984.0 GMAC).
With vid-TLDR, as the harmonic mean of both R@1: 41.9 (its authors' Representation Shift, table 3).
On a public leaderboard with vid-TLDR: T2V R@1/5/10 43.1/64.5/71.4, V2T 40.7/63.6/70.2.
Checkpoint: OpenGVLab/unmasked_teacher, ret_lsmdc_l16_25m.pth.
Zero-shot: the pretrained l16_25m.pth as CKPT; published T2V R@1 24.9, V2T 21.9, without merging.
Protocol: test1000 split, one caption per video;
12 frames, 128 candidates re-ranked.
Command: tokmerge eval --config lsmdc_l16 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import umt
from tokmerge_jax.config.published import LEADERBOARD, SHIFT, UMT_ZOO, UNMERGED, Published, recalls

PUBLISHED = (
    *recalls(UMT_ZOO, (43.0, 65.5, 73.0), (41.4, 64.3, 71.5), UNMERGED),
    Published("both", "harmonic mean of R@1", 41.9, SHIFT),
    *recalls(LEADERBOARD, (43.1, 64.5, 71.4), (40.7, 63.6, 70.2)),
)


def get_config() -> umt.Retrieval:
    return umt.Retrieval(
        model=umt.RetrievalModel(
            vision=umt.L16,
            text=umt.L16_TEXT,
            embed_dim=768,
            merger=umt.Merger(r=(250, 250, 200, 200)),
            drop_path=0.2,
        ),
        data=umt.TextData(dataset="lsmdc", max_text_length=96),
        train=umt.RetrievalTraining(learning_rate=2e-5, epochs=8),
    )
