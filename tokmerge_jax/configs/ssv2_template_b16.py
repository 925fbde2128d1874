"""SSV2-template text-video retrieval, UMT-B/16 with vid-TLDR.

Target: UMT B/16 25M fine-tuned, without merging:
T2V R@1/5/10 87.9/99.4/100 (re-ranked; only T2V is published),
here at 67 % of its vision cost (203.5 of 303.1 GMAC).
With vid-TLDR, as the harmonic mean of both R@1: 74.0 (its authors' Representation Shift, table 3).
Checkpoint: OpenGVLab/unmasked_teacher, ret_ssv2_tpl_b16_25m.pth.
Protocol: val_small split, several videos may be right for a text;
12 frames, 128 candidates re-ranked.
Command: tokmerge eval --config ssv2_template_b16 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import umt
from tokmerge_jax.config.published import SHIFT, UMT_ZOO, UNMERGED, Published, recalls

PUBLISHED = (
    *recalls(UMT_ZOO, (87.9, 99.4, 100.0), changes=UNMERGED),
    Published("both", "harmonic mean of R@1", 74.0, SHIFT),
)


def get_config() -> umt.Retrieval:
    return umt.Retrieval(
        model=umt.RetrievalModel(merger=umt.Merger(r=(400, 300)), drop_path=0.1),
        data=umt.TextData(dataset="ssv2_template", max_text_length=25),
        train=umt.RetrievalTraining(learning_rate=1e-4, epochs=10),
    )
