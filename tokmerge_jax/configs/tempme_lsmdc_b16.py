"""LSMDC text-video retrieval, CLIP ViT-B/16 with TempMe.

Target: TempMe's paper has a row that could not be read here; none is quoted.
Cost: 121.3 of 210.8 GMAC, 127 tokens at the end (in the paper 121.4 of 211.3).
Checkpoint: TempMe publishes none; `tokmerge train` starts from OpenAI's ViT-B-16.pt
(`docs/tempme.md` says where from). CKPT is its result, or a best.pth of the original.
Zero-shot CLIP, the row to compare with: this command with --config.model.merger.name=none
--config.model.lora_rank=0 --config.checkpoint=ViT-B-16.pt.
Protocol: 1000 test clips, one caption each; 12 frames, 32 words, cosines.
Variants: --config tempme_lsmdc_b16 trains LoRA and positions alone, as published;
--config tempme_lsmdc_b16:full everything (our settings, after CLIP4Clip's; unverified);
--config tempme_lsmdc_b16:script merges as TempMe's script, which has only B/32's settings
(161.6 GMAC, 493 tokens).
Command: tokmerge eval --config tempme_lsmdc_b16 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import clip


def get_config(variant: str = "lora") -> clip.Retrieval:
    data = clip.Data(dataset="lsmdc")
    return clip.tempme("b16", variant, data, eval_split="val")
