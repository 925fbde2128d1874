"""MSRVTT text-video retrieval by zero-shot PE-Core L/14 at 336 pixels, no merging.

Target: T2V R@1 50.3. Its source does not say whether scores are reweighted, as its code does by
default; --config.eval.dual_softmax=1 gives those, so report both.
Cost: 1537.5 GMAC for a video. ToMe in every frame:
--config.model.merger.name=tome --config.model.merger.r=16 leaves 193 of 577 tokens
at 65 % of the cost (995.9 GMAC); what it does to accuracy was not measured.
Checkpoint: facebook/PE-Core-L14-336 on Hugging Face, PE-Core-L14-336.pt, or open_clip's.
Protocol: 1k-A test split, one caption per video; 8 frames from the first to the last,
32 word pieces; scores of texts with the mean of unit frame vectors.
Command: tokmerge eval --config pe_core_msrvtt_l14 --config.checkpoint=PE-Core-L14-336.pt
"""

from tokmerge_jax.config import pe_core
from tokmerge_jax.config.published import PE_README, recalls

PUBLISHED = recalls(PE_README, (50.3,))


def get_config() -> pe_core.Retrieval:
    return pe_core.Retrieval(
        model=pe_core.SIZES["l14"],
        data=pe_core.Data(dataset="msrvtt"),
    )
