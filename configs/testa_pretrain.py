"""TESTA's pretraining: contrast, matching and captioning of videos and pictures from the web.

Target: TESTA_model_base_pretrain, 8 frames; zero-shot T2V R@1 64.9 on DiDeMo, as it was published.
Checkpoint: to start from, BLIP's model_base_capfilt_large.pth.
Protocol: WebVid-2M and CC3M, 20 epochs, 12 clips on each of 8 GPUs; nothing merges (195.8 GMAC).
Command: python scripts/train.py --config configs/testa_pretrain.py --config.checkpoint=BLIP
Captions of own videos: scripts/caption.py with the same --config and a checkpoint of it.
"""

from ml_collections import ConfigDict

from configs.base import testa


def get_config():
    config = testa.get_config(32)
    config.system = "testa_pretrain"
    config.model.vision.update(frames=8, learned_scale=True)
    config.model.merger.name = "none"
    config.data.update(
        dataset="pretraining",
        sampling="draws_in_halves",
        max_words=30,
        max_text_length=30,
        on_broken="skip",  # as many files of the web are
    )
    config.train.update(
        decode_size=256,  # of videos, instead of data.decode_size: crops are taken of them
        batch_size=96,
        epochs=20,
        schedule="decay_by_epoch",
        learning_rate=5e-6,
        min_learning_rate=0.1,
        weight_decay=0.0,
        queue=57600,
        alpha_epochs=2.0,
    )
    config.caption = ConfigDict(
        {
            "beams": 3,  # of the search; 1 = the likeliest piece each time, or drawn ones
            "max_length": 20,  # of a caption, its start and end included
            "min_length": 5,
            "top_p": 0.0,  # draw from the likeliest pieces of this probability; 0 = draw none
        }
    )
    return config.lock()
