"""Kinetics-400 zero-shot action recognition by PE-Core S/16 at 384 pixels, no merging.

Target: top-1 55.0 (the README of apps/pe).
Cost: 125.3 GMAC for a video. ToMe in every frame:
--config.model.merger.name=tome --config.model.merger.r=24 leaves 289 of 577 tokens
at 72 % of the cost (90.3 GMAC); what it does to accuracy was not measured.
Checkpoint: facebook/PE-Core-S16-384 on Hugging Face, PE-Core-S16-384.pt, or open_clip's.
Protocol: validation split; 8 frames from the first to the last; CLIP's 28 prompts for
each action, the unit vectors of the mean frame and of the mean prompt.
Command: tokmerge eval --config pe_core_k400_s16 --config.checkpoint=PE-Core-S16-384.pt
"""

from tokmerge_jax.config import pe_core
from tokmerge_jax.config.published import PE_README, Published

PUBLISHED = (Published("all", "top-1", 55.0, PE_README),)


def get_config() -> pe_core.Retrieval:
    return pe_core.Retrieval(
        model=pe_core.SIZES["s16"],
        data=pe_core.Data(dataset="k400", split="val"),
    )
