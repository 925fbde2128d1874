"""ActivityNet Captions paragraph-video retrieval, TESTA at 32 frames (f1p12).

Target: fine-tuned TESTA, T2V R@1/5/10 51.6/79.1/88.3 (re-ranked), 419.4 of 785.9 GMAC.
Checkpoint: ShuhuaiRen/TESTA_model_base_ActivityNet_retrieval_ft,
testa_model_base_anet_f32_f1p12.pth.
Zero-shot: ShuhuaiRen/TESTA_model_base_pretrain, with --config.model.merger.name=none;
published T2V R@1 37.1.
Protocol: val split, all captions of a video joined; 32 frames, 128 candidates re-ranked,
matching score and cosine added.
Command: tokmerge eval --config testa_anet_f32 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import testa
from tokmerge_jax.config.published import TESTA_README, recalls

PUBLISHED = recalls(TESTA_README, (51.6, 79.1, 88.3))


def get_config() -> testa.Retrieval:
    return testa.Retrieval(
        data=testa.Data(dataset="anet", paragraph=True, max_words=50, max_text_length=64),
        train=testa.RetrievalTraining(epochs=20),
    )
