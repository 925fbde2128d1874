"""LSMDC text-video retrieval, CLIP ViT-B/32 with TempMe.

Target: TempMe (LoRA) T2V R@1 23.5 (the paper's table, as its reviews quote it).
Cost: 34.7 of 52.9 GMAC, 97 tokens at the end.
Checkpoint: TempMe publishes none; `tokmerge train` starts from OpenAI's ViT-B-32.pt
(`docs/tempme.md` says where from). CKPT is its result, or a best.pth of the original.
Zero-shot CLIP, the row to compare with: this command with --config.model.merger.name=none
--config.model.lora_rank=0 --config.checkpoint=ViT-B-32.pt.
Protocol: 1000 test clips, one caption each; 12 frames, 32 words, cosines.
Variants: --config tempme_lsmdc_b32 trains LoRA and positions alone, as published;
--config tempme_lsmdc_b32:full everything (our settings, after CLIP4Clip's; unverified).
Command: tokmerge eval --config tempme_lsmdc_b32 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import clip
from tokmerge_jax.config.published import TEMPME_REVIEWS, recalls

PUBLISHED = recalls(TEMPME_REVIEWS, (23.5,))


def get_config(variant: str = "lora") -> clip.Retrieval:
    data = clip.Data(dataset="lsmdc")
    return clip.tempme("b32", variant, data, eval_split="val")
