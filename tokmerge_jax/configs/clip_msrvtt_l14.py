"""MSRVTT text-video retrieval by zero-shot CLIP ViT-L/14: the mean of the frames, no merging.

The row that TempMe and other trainings of CLIP are compared with. To merge within each frame:
--config.model.merger.name=tome (or vid_tldr) --config.model.merger.r=2.
Target: none is published for these frames; CLIP4Clip's zero-shot rows sample otherwise.
Checkpoint: OpenAI's ViT-L-14.pt (`docs/tempme.md` says where from), or a CLIP of open_clip or
Hugging Face of that size.
Protocol: 1k-A test split, one caption per video; 12 frames, 32 words, cosines.
Command: tokmerge eval --config clip_msrvtt_l14 --config.checkpoint=ViT-L-14.pt
"""

from tokmerge_jax.config import clip


def get_config() -> clip.Retrieval:
    return clip.Retrieval(
        model=clip.Model(vision=clip.L14, text=clip.L14_TEXT, embed_dim=768),
        data=clip.Data(dataset="msrvtt"),
    )
