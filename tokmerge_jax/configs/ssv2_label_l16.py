"""SSV2-label text-video retrieval, UMT-L/16 with vid-TLDR.

Target: UMT L/16 25M fine-tuned, without merging:
T2V R@1/5/10 73.3/92.7/96.9 (re-ranked; only T2V is published),
here at 62 % of its vision cost (610.5 of 984.0 GMAC).
With vid-TLDR, as the harmonic mean of both R@1: 72.1 (its authors' Representation Shift, table 3).
Checkpoint: OpenGVLab/unmasked_teacher, ret_ssv2_label_l16_25m.pth.
Protocol: val_small split, several videos may be right for a text;
12 frames, 128 candidates re-ranked.
Command: tokmerge eval --config ssv2_label_l16 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import umt
from tokmerge_jax.config.published import SHIFT, UMT_ZOO, UNMERGED, Published, recalls

PUBLISHED = (
    *recalls(UMT_ZOO, (73.3, 92.7, 96.9), changes=UNMERGED),
    Published("both", "harmonic mean of R@1", 72.1, SHIFT),
)


def get_config() -> umt.Retrieval:
    return umt.Retrieval(
        model=umt.RetrievalModel(
            vision=umt.L16,
            text=umt.L16_TEXT,
            embed_dim=768,
            merger=umt.Merger(r=(450, 250, 100)),
            drop_path=0.2,
        ),
        data=umt.TextData(dataset="ssv2_label", max_text_length=25),
        train=umt.RetrievalTraining(learning_rate=4e-5, epochs=10, warmup_epochs=0.0),
    )
