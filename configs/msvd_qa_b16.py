"""MSVD-QA video question answering, UMT-B/16 with vid-TLDR.

Target: UMT B/16 25M fine-tuned, without merging: accuracy 49.5,
here at 62 % of its vision cost (188.4 of 303.1 GMAC).
Checkpoint: OpenGVLab/unmasked_teacher, qa_msvd_b16_25m.pth.
Protocol: test split, exact match with one of the answer list, 128 answers scored whole, 12 frames.
Command: python scripts/eval.py --config configs/msvd_qa_b16.py --config.checkpoint=CKPT
"""

from configs.base import vid_tldr_qa


def get_config():
    config = vid_tldr_qa.get_config("b16")
    config.data.dataset = "msvd_qa"
    config.model.merger.r = (600, 200)
    config.model.drop_path = 0.2
    config.train.learning_rate = 6e-5
    config.train.epochs = 6
    config.train.eval_split = "val"
    return config.lock()
