"""What the vid-TLDR retrieval configs share: UMT B/16 and L/16, evaluation and fine-tuning.

Source: vid-TLDR (CVPR 2024) on UMT (ICCV 2023); `docs/vid_tldr.md` names every key.
"""

from ml_collections import ConfigDict

from configs.base import umt

_EMBED_DIM = {"b16": 512, "l16": 768}


def get_config(variant: str = "b16") -> ConfigDict:
    config = umt.get_config(variant)
    config.system = "vid_tldr"
    config.model.embed_dim = _EMBED_DIM[variant]
    config.data.paragraph = False  # join a video's captions into one text
    config.eval.rerank = True
    config.eval.metrics = "umt"  # how ranks are counted
    config.eval.dual_softmax = 0.0  # scale of dual-softmax scores, in place of re-ranking; 0 = none
    config.train.losses = ConfigDict({"vtc": 1.0, "vtm": 1.0, "mlm": 0.0})  # their weights
    return config
