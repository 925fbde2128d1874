"""MSRVTT text-video retrieval, CLIP ViT-B/16 with TempMe.

Target: TempMe (LoRA) T2V R@1 + R@5 + R@10 206.7 (the paper's table, as its reviews quote it);
LoRA alone 201.4.
Cost: 121.3 of 210.8 GMAC, 127 tokens at the end (in the paper 121.4 of 211.3).
Checkpoint: TempMe publishes none; `tokmerge train` starts from OpenAI's ViT-B-16.pt
(`docs/tempme.md` says where from). CKPT is its result, or a best.pth of the original.
Zero-shot CLIP, the row to compare with: --config clip_msrvtt_b16.
Protocol: 1k-A test split, one caption per video; 12 frames, 32 words, cosines.
Variants: --config tempme_msrvtt_b16 trains LoRA and positions alone, as published;
--config tempme_msrvtt_b16:full everything (our settings, after CLIP4Clip's; unverified);
--config tempme_msrvtt_b16:script merges as TempMe's script, which has only B/32's settings
(161.6 GMAC, 493 tokens).
Command: tokmerge eval --config tempme_msrvtt_b16 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import clip
from tokmerge_jax.config.published import TEMPME_REVIEWS, Published

PUBLISHED = (Published("text_to_video", "R@1/5/10 sum", 206.7, TEMPME_REVIEWS),)


def get_config(variant: str = "lora") -> clip.Retrieval:
    data = clip.Data(dataset="msrvtt")
    return clip.tempme("b16", variant, data)
