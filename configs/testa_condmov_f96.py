"""Condensed Movies paragraph-video retrieval, TESTA at 96 frames (f4p8), 1379.9 of 2379.9 GMAC.

Target: the paper's tables; its checkpoint of 96 frames is not released.
Checkpoint: one of 32 frames starts it, its table of times read at 96 places.
Protocol: test split, whose answers are not public (config.data.split=val has them);
one caption per video; 96 frames, 128 candidates re-ranked,
matching score and cosine added.
Command: python scripts/eval.py --config configs/testa_condmov_f96.py --config.checkpoint=CKPT
"""

from configs.base import testa


def get_config():
    config = testa.get_config(96)
    config.data.dataset = "condmov"
    config.data.max_words = 50
    config.data.max_text_length = 32
    config.eval.batch_size = 2
    config.train.batch_size = 32
    return config.lock()
