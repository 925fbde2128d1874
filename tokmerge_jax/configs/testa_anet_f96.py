"""ActivityNet Captions paragraph-video retrieval, TESTA at 96 frames (f4p8), 1379.9 of 2379.9 GMAC.

Target: T2V R@1/5/10 54.8/80.8/89.6 (a public leaderboard); the checkpoint of 96 frames is not
released.
Checkpoint: start from one of 32 frames; its time table is resampled to 96.
Protocol: val split, all captions of a video joined; 96 frames, 128 candidates re-ranked,
matching score and cosine added.
Command: tokmerge eval --config testa_anet_f96 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import testa
from tokmerge_jax.config.published import LEADERBOARD, recalls

PUBLISHED = recalls(LEADERBOARD, (54.8, 80.8, 89.6))


def get_config() -> testa.Retrieval:
    return testa.Retrieval(
        model=testa.RetrievalModel(vision=testa.Vision(frames=96), merger=testa.F4P8),
        data=testa.Data(dataset="anet", paragraph=True, max_words=50, max_text_length=64),
        eval=testa.SummingOptions(batch_size=2),
        train=testa.RetrievalTraining(batch_size=16, epochs=20),
    )
