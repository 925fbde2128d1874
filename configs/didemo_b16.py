"""DiDeMo text-video retrieval, UMT-B/16 with vid-TLDR.

Target: UMT B/16 25M fine-tuned, without merging:
T2V R@1/5/10 61.6/86.8/91.5, V2T 59.5/84.9/90.5 (re-ranked),
here at 70 % of its vision cost (212.6 of 303.1 GMAC).
Checkpoint: OpenGVLab/unmasked_teacher, ret_didemo_b16_25m.pth.
Zero-shot: the pretrained b16_25m.pth as CKPT; published T2V R@1 41.2, V2T 40.8, without merging.
Protocol: test split, captions joined to a paragraph, first 30 seconds;
12 frames, 128 candidates re-ranked.
Command: python scripts/eval.py --config configs/didemo_b16.py --config.checkpoint=CKPT
"""

from configs.base import vid_tldr


def get_config():
    config = vid_tldr.get_config("b16")
    config.data.dataset = "didemo"
    config.data.max_text_length = 64
    config.data.paragraph = True
    config.data.trim_seconds = 30
    config.model.merger.r = (250, 150, 150, 150)
    config.model.drop_path = 0.1
    config.train.learning_rate = 2e-5
    config.train.epochs = 12
    config.train.eval_split = "val"
    return config.lock()
