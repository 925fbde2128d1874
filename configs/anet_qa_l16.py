"""ActivityNet-QA video question answering, UMT-L/16.

Target: UMT L/16 25M fine-tuned, accuracy 47.9, without merging: vid-TLDR publishes no
schedule. That of the other two is tried by
--config.model.merger.name=vid_tldr --config.model.merger.r=400,400,100
Checkpoint: OpenGVLab/unmasked_teacher, qa_anet_l16_25m.pth.
Protocol: test split, exact match with one of the answer list, 128 answers scored whole, 12 frames.
Command: python scripts/eval.py --config configs/anet_qa_l16.py --config.checkpoint=CKPT
"""

from configs.base import vid_tldr_qa


def get_config():
    config = vid_tldr_qa.get_config("l16")
    config.data.dataset = "anet_qa"
    config.model.merger.name = "none"
    config.model.drop_path = 0.3
    config.train.learning_rate = 4e-5
    config.train.epochs = 10
    config.train.eval_split = "val"
    return config.lock()
