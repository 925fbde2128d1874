"""ActivityNet text-video retrieval, CLIP ViT-B/32 with TempMe.

Target: TempMe (LoRA) T2V R@1 44.9 (the paper's table, as its reviews quote it).
Cost: 186.2 of 282.2 GMAC, 500 tokens at the end.
Checkpoint: TempMe publishes none; `tokmerge train` starts from OpenAI's ViT-B-32.pt
(`docs/tempme.md` says where from). CKPT is its result, or a best.pth of the original.
Zero-shot CLIP, the row to compare with: this command with --config.model.merger.name=none
--config.model.lora_rank=0 --config.checkpoint=ViT-B-32.pt.
Protocol: val1 split, captions joined to a paragraph; 64 frames, 64 words, cosines
(64 -> 16 -> 4 -> 1).
Variants: --config tempme_anet_b32 trains LoRA and positions alone, as published;
--config tempme_anet_b32:full everything (our settings, after CLIP4Clip's; unverified).
Command: tokmerge eval --config tempme_anet_b32 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import clip
from tokmerge_jax.config.published import TEMPME_REVIEWS, recalls

PUBLISHED = recalls(TEMPME_REVIEWS, (44.9,))


def get_config(variant: str = "lora") -> clip.Retrieval:
    data = clip.Data(dataset="anet", max_text_length=64, paragraph=True)
    return clip.tempme("b32", variant, data, frames=64)
