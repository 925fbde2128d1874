"""What the TESTA retrieval configs share: TimeSformer-B/16 and BLIP's BERT, data, evaluation.

Source: TESTA (Findings of EMNLP 2023) on BLIP (ICML 2022); `docs/testa.md` names every key.
"""

from ml_collections import ConfigDict

from configs.base import umt

_MERGING = {32: (1, 12), 96: (4, 8)}
"""Frames and patches of each that merge in every block, by the frames of the input."""

_BATCH = {32: 32, 96: 16}
"""Of training, by the frames of the input."""


def get_config(frames: int = 32) -> ConfigDict:
    """The shared keys for videos of 32 or 96 frames."""
    config = umt.get_config("b16")
    config.system = "testa"
    config.model.vision.update(frames=frames, attention="divided", learned_scale=False)
    del config.model.vision["table_frames"], config.model.vision["keep_temporal"]
    config.model.text.vocab_size = 30524  # BERT's, [DEC] and [ENC]
    del config.model.text["fusion_layer"], config.model["drop_path"]
    config.model.embed_dim = 256
    merged_frames, merged_patches = _MERGING[frames]
    config.model.merger = ConfigDict(
        {
            "name": "testa",  # or prune; none; another merger of patches
            "frames": umt.any_of(merged_frames),  # that merge in each block
            "r": umt.any_of(merged_patches),  # patches of each frame that do
            "vote": "min",  # a frame's score, of its patches': min, mode, mode_half
            "proportional": False,  # sizes count in attention; not in divided attention
        }
    )
    config.data.sampling = "strides"
    # FFmpeg scales frames to this edge while they are decoded; 0 = they are resized afterwards
    config.data.decode_size = config.model.vision.get_oneway_ref("image_size")
    config.data.paragraph = False  # join a video's captions into one text
    config.data.max_words = 0  # of a caption, which then is cleaned too; 0 = as it is
    config.eval.rerank = True
    config.eval.plus_similarity = True  # a candidate's score is its matching score and its cosine
    config.eval.metrics = "umt"  # how ranks are counted
    config.eval.dual_softmax = 0.0
    config.train.update(
        batch_size=_BATCH[frames],
        warmup_epochs=0.0,
        min_learning_rate=0.0,
        schedule="cosine_by_epoch",
        weight_decay=0.05,
    )
    del config.train["image_size_min_scale"], config.train["flip"]
    config.train.parts = 1  # videos are encoded in so many parts: less memory, the same gradient
    config.train.queue = 32  # earlier rows that are contrasted with too
    config.train.alpha = 0.4  # share of contrast's targets that slow copies give
    config.train.alpha_epochs = 1.0  # in which it rises from 0
    return config
