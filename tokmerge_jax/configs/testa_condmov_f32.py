"""Condensed Movies paragraph-video retrieval, TESTA at 32 frames (f1p12).

Target: fine-tuned TESTA, T2V R@1/5/10 21.5/42.4/50.7 (re-ranked), 419.4 of 785.9 GMAC.
Checkpoint: ShuhuaiRen/TESTA_model_base_CondensedMovies_retrieval_ft,
testa_model_base_cm_f32_f1p12.pth.
Protocol: test split, whose answers are not public (config.data.split=val has them);
one caption per video; 32 frames, 128 candidates re-ranked,
matching score and cosine added.
Command: tokmerge eval --config testa_condmov_f32 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import testa
from tokmerge_jax.config.published import TESTA_README, recalls

PUBLISHED = recalls(TESTA_README, (21.5, 42.4, 50.7))


def get_config() -> testa.Retrieval:
    return testa.Retrieval(
        data=testa.Data(dataset="condmov", max_words=50, max_text_length=32),
    )
