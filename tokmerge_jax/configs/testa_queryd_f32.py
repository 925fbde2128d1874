"""QuerYD paragraph-video retrieval, TESTA at 32 frames (f1p12).

Target: fine-tuned TESTA, T2V R@1/5/10 77.0/90.8/92.6 (re-ranked), 419.4 of 785.9 GMAC.
Checkpoint: ShuhuaiRen/TESTA_model_base_QuerYD_retrieval_ft,
testa_model_base_queryd_f32_f1p12.pth.
Zero-shot: ShuhuaiRen/TESTA_model_base_pretrain, with --config.model.merger.name=none;
published T2V R@1 64.4.
Protocol: test split, all captions of a video joined; 32 frames, 128 candidates re-ranked,
matching score and cosine added.
Command: tokmerge eval --config testa_queryd_f32 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import testa
from tokmerge_jax.config.published import TESTA_README, recalls

PUBLISHED = recalls(TESTA_README, (77.0, 90.8, 92.6))


def get_config() -> testa.Retrieval:
    return testa.Retrieval(
        data=testa.Data(dataset="queryd", paragraph=True, max_words=128, max_text_length=128),
    )
