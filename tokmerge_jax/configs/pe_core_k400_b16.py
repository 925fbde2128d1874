"""Kinetics-400 zero-shot action recognition by PE-Core B/16 at 224 pixels, no merging.

Target: top-1 65.6 (the README of apps/pe).
Cost: 142.4 GMAC for a video. ToMe in every frame:
--config.model.merger.name=tome --config.model.merger.r=8 leaves 101 of 197 tokens
at 74 % of the cost (105.9 GMAC); what it does to accuracy was not measured.
Checkpoint: facebook/PE-Core-B16-224 on Hugging Face, PE-Core-B16-224.pt, or open_clip's.
Protocol: validation split; 8 frames from the first to the last; CLIP's 28 prompts for
each action, the unit vectors of the mean frame and of the mean prompt.
Command: tokmerge eval --config pe_core_k400_b16 --config.checkpoint=PE-Core-B16-224.pt
"""

from tokmerge_jax.config import pe_core
from tokmerge_jax.config.published import PE_README, Published

PUBLISHED = (Published("all", "top-1", 65.6, PE_README),)


def get_config() -> pe_core.Retrieval:
    return pe_core.Retrieval(
        data=pe_core.Data(dataset="k400", split="val"),
    )
