"""Kinetics-400 zero-shot action recognition by PE-Core G/14 at 448 pixels, no merging.

Target: top-1 76.9 (the README of apps/pe).
Cost: 16474.5 GMAC for a video. ToMe in every frame:
--config.model.merger.name=tome --config.model.merger.r=14 leaves 324 of 1024 tokens
at 64 % of the cost (10559.1 GMAC); what it does to accuracy was not measured.
Checkpoint: facebook/PE-Core-G14-448 on Hugging Face, PE-Core-G14-448.pt, or open_clip's.
Protocol: validation split; 8 frames from the first to the last; CLIP's 28 prompts for
each action, the unit vectors of the mean frame and of the mean prompt.
Command: tokmerge eval --config pe_core_k400_g14 --config.checkpoint=PE-Core-G14-448.pt
"""

from tokmerge_jax.config import pe_core
from tokmerge_jax.config.published import PE_README, Published

PUBLISHED = (Published("all", "top-1", 76.9, PE_README),)


def get_config() -> pe_core.Retrieval:
    return pe_core.Retrieval(
        model=pe_core.SIZES["g14"],
        data=pe_core.Data(dataset="k400", split="val", max_text_length=72),
    )
