"""ActivityNet text-video retrieval, CLIP ViT-B/16 with TempMe.

Target: TempMe's paper has a row that could not be read here; none is quoted.
Cost: 652.2 of 1124.1 GMAC, 664 tokens at the end.
Checkpoint: TempMe publishes none; `tokmerge train` starts from OpenAI's ViT-B-16.pt
(`docs/tempme.md` says where from). CKPT is its result, or a best.pth of the original.
Zero-shot CLIP, the row to compare with: this command with --config.model.merger.name=none
--config.model.lora_rank=0 --config.checkpoint=ViT-B-16.pt.
Protocol: val1 split, captions joined to a paragraph; 64 frames, 64 words, cosines
(64 -> 16 -> 4 -> 1).
Variants: --config tempme_anet_b16 trains LoRA and positions alone, as published;
--config tempme_anet_b16:full everything (our settings, after CLIP4Clip's; unverified);
--config tempme_anet_b16:script merges as TempMe's script, which has only B/32's settings
(901.6 GMAC, 2614 tokens).
Command: tokmerge eval --config tempme_anet_b16 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import clip


def get_config(variant: str = "lora") -> clip.Retrieval:
    data = clip.Data(dataset="anet", max_text_length=64, paragraph=True)
    return clip.tempme("b16", variant, data, frames=64)
