"""Kinetics-400 zero-shot action recognition by PE-Core T/16 at 384 pixels, no merging.

Target: top-1 41.5 (the README of apps/pe).
Cost: 37.8 GMAC for a video. ToMe in every frame:
--config.model.merger.name=tome --config.model.merger.r=24 leaves 289 of 577 tokens
at 71 % of the cost (26.9 GMAC); what it does to accuracy was not measured.
Checkpoint: facebook/PE-Core-T16-384 on Hugging Face, PE-Core-T16-384.pt, or open_clip's.
Protocol: validation split; 8 frames from the first to the last; CLIP's 28 prompts for
each action, the unit vectors of the mean frame and of the mean prompt.
Command: tokmerge eval --config pe_core_k400_t16 --config.checkpoint=PE-Core-T16-384.pt
"""

from tokmerge_jax.config import pe_core
from tokmerge_jax.config.published import PE_README, Published

PUBLISHED = (Published("all", "top-1", 41.5, PE_README),)


def get_config() -> pe_core.Retrieval:
    return pe_core.Retrieval(
        model=pe_core.SIZES["t16"],
        data=pe_core.Data(dataset="k400", split="val"),
    )
