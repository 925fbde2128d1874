"""MSVD text-video retrieval, UMT-L/16 with vid-TLDR.

Target: UMT L/16 25M fine-tuned, without merging:
T2V R@1/5/10 58.2/83.9/89.6, V2T 82.4/94.6/96.7 (re-ranked),
here at 54 % of its vision cost (528.2 of 984.0 GMAC).
Checkpoint: OpenGVLab/unmasked_teacher, ret_msvd_l16_25m.pth.
Zero-shot: the pretrained l16_25m.pth as CKPT; published T2V R@1 49.0, V2T 74.5, without merging.
Protocol: test split, some 40 captions per video, each a text of its own;
12 frames, 128 candidates re-ranked.
Command: python scripts/eval.py --config configs/msvd_l16.py --config.checkpoint=CKPT
"""

from configs.base import vid_tldr


def get_config():
    config = vid_tldr.get_config("l16")
    config.data.dataset = "msvd"
    config.data.max_text_length = 64
    config.model.merger.r = (600, 200, 100, 100)
    config.model.drop_path = 0.3
    config.train.learning_rate = 1e-5
    config.train.epochs = 3
    config.train.warmup_epochs = 0.0
    return config.lock()
