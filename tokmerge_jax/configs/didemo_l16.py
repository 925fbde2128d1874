"""DiDeMo text-video retrieval, UMT-L/16 with vid-TLDR.

Target: UMT L/16 25M fine-tuned, without merging:
T2V R@1/5/10 70.4/90.1/93.5, V2T 65.7/89.6/93.3 (re-ranked),
here at 57 % of its vision cost (558.7 of 984.0 GMAC).
With vid-TLDR, as the harmonic mean of both R@1: 70.4 (its authors' Representation Shift, table 3).
On a public leaderboard with vid-TLDR: T2V R@1/5/10 72.3/91.2/94.2, V2T 68.5/89.8/93.8.
Checkpoint: OpenGVLab/unmasked_teacher, ret_didemo_l16_25m.pth.
Zero-shot: the pretrained l16_25m.pth as CKPT; published T2V R@1 48.6, V2T 49.9, without merging.
Protocol: test split, captions joined to a paragraph, first 30 seconds;
12 frames, 128 candidates re-ranked.
Command: tokmerge eval --config didemo_l16 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import umt
from tokmerge_jax.config.published import LEADERBOARD, SHIFT, UMT_ZOO, UNMERGED, Published, recalls

PUBLISHED = (
    *recalls(UMT_ZOO, (70.4, 90.1, 93.5), (65.7, 89.6, 93.3), UNMERGED),
    Published("both", "harmonic mean of R@1", 70.4, SHIFT),
    *recalls(LEADERBOARD, (72.3, 91.2, 94.2), (68.5, 89.8, 93.8)),
)


def get_config() -> umt.Retrieval:
    return umt.Retrieval(
        model=umt.RetrievalModel(
            vision=umt.L16,
            text=umt.L16_TEXT,
            embed_dim=768,
            merger=umt.Merger(r=(800, 100)),
            drop_path=0.2,
        ),
        data=umt.TextData(dataset="didemo", max_text_length=64, paragraph=True, trim_seconds=30),
        train=umt.RetrievalTraining(learning_rate=4e-5, epochs=5, eval_split="val"),
    )
