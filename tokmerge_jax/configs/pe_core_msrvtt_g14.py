"""MSRVTT text-video retrieval by zero-shot PE-Core G/14 at 448 pixels, no merging.

Target: T2V R@1 51.2. Its source does not say whether scores are reweighted, as its code does by
default; --config.eval.dual_softmax=1 gives those, so report both.
Cost: 16474.5 GMAC for a video. ToMe in every frame:
--config.model.merger.name=tome --config.model.merger.r=14 leaves 324 of 1024 tokens
at 64 % of the cost (10559.1 GMAC); what it does to accuracy was not measured.
Checkpoint: facebook/PE-Core-G14-448 on Hugging Face, PE-Core-G14-448.pt, or open_clip's.
Protocol: 1k-A test split, one caption per video; 8 frames from the first to the last,
72 word pieces; scores of texts with the mean of unit frame vectors.
Command: tokmerge eval --config pe_core_msrvtt_g14 --config.checkpoint=PE-Core-G14-448.pt
"""

from tokmerge_jax.config import pe_core
from tokmerge_jax.config.published import PE_README, recalls

PUBLISHED = recalls(PE_README, (51.2,))


def get_config() -> pe_core.Retrieval:
    return pe_core.Retrieval(
        model=pe_core.SIZES["g14"],
        data=pe_core.Data(dataset="msrvtt", max_text_length=72),
    )
