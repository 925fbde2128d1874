"""MSRVTT text-video retrieval, CLIP ViT-B/16 with TempMe.

Target: TempMe's paper has a row that could not be read here; none is quoted.
Cost: 161.6 of 210.8 GMAC, 493 tokens at the end.
Start: OpenAI's ViT-B-16.pt (`docs/tempme.md` says where from), then scripts/train.py, as TempMe
publishes no checkpoint; CKPT is what that leaves, or its best.pth.
Zero-shot CLIP, the row to compare with: configs/clip_msrvtt_b16.py.
Protocol: 1k-A test split, one caption per video; 12 frames, 32 words, cosines.
Variants: configs/tempme_msrvtt_b16.py trains LoRA and positions alone, as published;
configs/tempme_msrvtt_b16.py:full everything (our settings, after CLIP4Clip's; unverified).
Command: python scripts/eval.py --config configs/tempme_msrvtt_b16.py --config.checkpoint=CKPT
"""

from configs.base import tempme


def get_config(tuning="lora"):
    config = tempme.get_config("b16", tuning)
    config.data.dataset = "msrvtt"
    return config.lock()
