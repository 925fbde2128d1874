"""MSVD-QA video question answering, UMT-L/16 with vid-TLDR.

Target: UMT L/16 25M fine-tuned, without merging: accuracy 55.2,
here at 58 % of its vision cost (569.4 of 984.0 GMAC).
Checkpoint: OpenGVLab/unmasked_teacher, qa_msvd_l16_25m.pth.
Protocol: test split, exact match with one of the answer list, 128 answers scored whole, 12 frames.
Command: python scripts/eval.py --config configs/msvd_qa_l16.py --config.checkpoint=CKPT
"""

from configs.base import vid_tldr_qa


def get_config():
    config = vid_tldr_qa.get_config("l16")
    config.data.dataset = "msvd_qa"
    config.model.merger.r = (400, 400, 100)
    config.model.drop_path = 0.4
    config.train.learning_rate = 6e-5
    config.train.epochs = 6
    config.train.eval_split = "val"
    return config.lock()
