"""Kinetics-400 zero-shot action recognition by PE-Core L/14 at 336 pixels, no merging.

Target: top-1 73.4 (the README of apps/pe).
Cost: 1537.5 GMAC for a video. ToMe in every frame:
--config.model.merger.name=tome --config.model.merger.r=16 leaves 193 of 577 tokens
at 65 % of the cost (995.9 GMAC); what it does to accuracy was not measured.
Checkpoint: facebook/PE-Core-L14-336 on Hugging Face, PE-Core-L14-336.pt, or open_clip's.
Protocol: validation split; 8 frames from the first to the last; CLIP's 28 prompts for
each action, the unit vectors of the mean frame and of the mean prompt.
Command: tokmerge eval --config pe_core_k400_l14 --config.checkpoint=PE-Core-L14-336.pt
"""

from tokmerge_jax.config import pe_core
from tokmerge_jax.config.published import PE_README, Published

PUBLISHED = (Published("all", "top-1", 73.4, PE_README),)


def get_config() -> pe_core.Retrieval:
    return pe_core.Retrieval(
        model=pe_core.SIZES["l14"],
        data=pe_core.Data(dataset="k400", split="val"),
    )
