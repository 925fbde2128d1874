"""ActivityNet Captions text-video retrieval, UMT-B/16 with vid-TLDR.

Target: UMT B/16 25M fine-tuned, without merging:
T2V R@1/5/10 58.3/83.9/91.5, V2T 56.0/83.5/91.7 (re-ranked),
here at 75 % of its vision cost (227.4 of 303.1 GMAC).
Checkpoint: OpenGVLab/unmasked_teacher, ret_anet_b16_25m.pth.
Zero-shot: the pretrained b16_25m.pth as CKPT; published T2V R@1 35.5, V2T 32.8, without merging.
Protocol: val split, a video's captions joined to a paragraph;
12 frames, 128 candidates re-ranked.
Command: python scripts/eval.py --config configs/anet_b16.py --config.checkpoint=CKPT
"""

from configs.base import vid_tldr


def get_config():
    config = vid_tldr.get_config("b16")
    config.data.dataset = "anet"
    config.data.max_text_length = 150
    config.data.paragraph = True
    config.model.merger.r = (500,)
    config.model.drop_path = 0.1
    config.train.learning_rate = 4e-5
    config.train.epochs = 20
    return config.lock()
