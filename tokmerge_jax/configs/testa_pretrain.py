"""TESTA's pretraining: contrast, matching and captioning of videos and pictures from the web.

Target: TESTA_model_base_pretrain, 8 frames; zero-shot T2V R@1 64.9 on DiDeMo, as it was published.
Checkpoint: to start from, BLIP's model_base_capfilt_large.pth.
Protocol: WebVid-2M and CC3M, 20 epochs, 12 clips on each of 8 GPUs; nothing merges (195.8 GMAC).
Command: tokmerge train --config testa_pretrain --config.checkpoint=BLIP
Captions of own videos: `tokmerge caption` with the same --config and a checkpoint of it.
"""

from tokmerge_jax.config import testa


def get_config() -> testa.Pretraining:
    return testa.Pretraining(
        model=testa.RetrievalModel(
            vision=testa.Vision(frames=8, learned_scale=True), merger=testa.Merger(name="none")
        ),
        data=testa.Data(
            dataset="pretraining",
            sampling="draws_in_halves",
            max_words=30,
            max_text_length=30,
            on_broken="skip",  # many files from the web are broken
        ),
    )
