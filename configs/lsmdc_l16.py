"""LSMDC text-video retrieval, UMT-L/16 with vid-TLDR.

Target: UMT L/16 25M fine-tuned, without merging:
T2V R@1/5/10 43.0/65.5/73.0, V2T 41.4/64.3/71.5 (re-ranked),
here at 59 % of its vision cost (583.3 of 984.0 GMAC).
Checkpoint: OpenGVLab/unmasked_teacher, ret_lsmdc_l16_25m.pth.
Zero-shot: the pretrained l16_25m.pth as CKPT; published T2V R@1 24.9, V2T 21.9, without merging.
Protocol: test1000 split, one caption per video;
12 frames, 128 candidates re-ranked.
Command: python scripts/eval.py --config configs/lsmdc_l16.py --config.checkpoint=CKPT
"""

from configs.base import vid_tldr


def get_config():
    config = vid_tldr.get_config("l16")
    config.data.dataset = "lsmdc"
    config.data.max_text_length = 96
    config.model.merger.r = (250, 250, 200, 200)
    config.model.drop_path = 0.2
    config.train.learning_rate = 2e-5
    config.train.epochs = 8
    return config.lock()
