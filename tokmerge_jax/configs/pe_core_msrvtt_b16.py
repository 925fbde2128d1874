"""MSRVTT text-video retrieval by zero-shot PE-Core B/16 at 224 pixels, no merging.

Target: T2V R@1 47.6. Its source does not say whether scores are reweighted, as its code does by
default; --config.eval.dual_softmax=1 gives those, so report both.
Cost: 142.4 GMAC for a video. ToMe in every frame:
--config.model.merger.name=tome --config.model.merger.r=8 leaves 101 of 197 tokens
at 74 % of the cost (105.9 GMAC); what it does to accuracy was not measured.
Checkpoint: facebook/PE-Core-B16-224 on Hugging Face, PE-Core-B16-224.pt, or open_clip's.
Protocol: 1k-A test split, one caption per video; 8 frames from the first to the last,
32 word pieces; scores of texts with the mean of unit frame vectors.
Command: tokmerge eval --config pe_core_msrvtt_b16 --config.checkpoint=PE-Core-B16-224.pt
"""

from tokmerge_jax.config import pe_core
from tokmerge_jax.config.published import PE_README, recalls

PUBLISHED = recalls(PE_README, (47.6,))


def get_config() -> pe_core.Retrieval:
    return pe_core.Retrieval(
        data=pe_core.Data(dataset="msrvtt"),
    )
