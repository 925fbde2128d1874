"""MSRVTT text-video retrieval, CLIP ViT-B/32 with TempMe.

Target: TempMe (LoRA) T2V R@1/5/10 46.1/71.8/80.7 (the paper's table, as its reviews quote it).
Cost: 34.7 of 52.9 GMAC, 97 tokens at the end.
Checkpoint: TempMe publishes none; `tokmerge train` starts from OpenAI's ViT-B-32.pt
(`docs/tempme.md` says where from). CKPT is its result, or a best.pth of the original.
Zero-shot CLIP, the row to compare with: --config clip_msrvtt_b32.
Protocol: 1k-A test split, one caption per video; 12 frames, 32 words, cosines.
Variants: --config tempme_msrvtt_b32 trains LoRA and positions alone, as published;
--config tempme_msrvtt_b32:full everything (our settings, after CLIP4Clip's; unverified).
Command: tokmerge eval --config tempme_msrvtt_b32 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import clip
from tokmerge_jax.config.published import TEMPME_REVIEWS, recalls

PUBLISHED = recalls(TEMPME_REVIEWS, (46.1, 71.8, 80.7))


def get_config(variant: str = "lora") -> clip.Retrieval:
    data = clip.Data(dataset="msrvtt")
    return clip.tempme("b32", variant, data)
