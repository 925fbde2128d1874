"""DiDeMo paragraph-video retrieval, TESTA at 32 frames (f1p12).

Target: fine-tuned TESTA, T2V R@1/5/10 57.7/83.3/89.4 (re-ranked), 419.4 of 785.9 GMAC.
Checkpoint: ShuhuaiRen/TESTA_model_base_DiDeMo_retrieval_ft,
testa_model_base_didemo_f32_f1p12.pth.
Zero-shot: ShuhuaiRen/TESTA_model_base_pretrain, with --config.model.merger.name=none;
published T2V R@1 64.9.
Protocol: test split, one caption per video; 32 frames, 128 candidates re-ranked,
matching score and cosine added.
Command: tokmerge eval --config testa_didemo_f32 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import testa
from tokmerge_jax.config.published import TESTA_README, recalls

PUBLISHED = recalls(TESTA_README, (57.7, 83.3, 89.4))


def get_config() -> testa.Retrieval:
    return testa.Retrieval(
        data=testa.Data(dataset="didemo", max_text_length=64),
    )
