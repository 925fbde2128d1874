"""PE-Core: zero-shot text-video retrieval by frames, in the sizes B/16 (the default), L, T, S, G.

Source: Perception Encoder (arXiv 2504.13181); `docs/pe_core.md` describes it.
"""

from dataclasses import dataclass, replace
from typing import Literal

from tokmerge_jax.config import checks, clip
from tokmerge_jax.config.evaluation import RetrievalOptions
from tokmerge_jax.errors import UserError

POOL_HEADS = 8
"""Number of heads of the attention pooling in all sizes."""


@dataclass(frozen=True, kw_only=True)
class Vision(clip.Vision):
    """The image transformer."""

    patch_size: int = 16
    frames: int = 8
    mlp_width: int = 3072  # hidden width of the MLPs
    class_token: bool = True
    grid: int = 14  # edge of the position table in patches; another image_size interpolates it


@dataclass(frozen=True, kw_only=True)
class Merger(clip.Merger):
    """Merging within each frame."""

    pool_sizes: bool = True  # pooling weights a merged token by its size
    position: Literal["mean", "kept"] = "mean"  # of a merged token: by size, or the kept token's


TEXT = clip.Text(width=1024, depth=24, heads=16, max_positions=32)
JOIN = clip.Join(layers=(9, 10, 11), clips=(2, 2, 2), positions=False)  # none are learned for it


@dataclass(frozen=True, kw_only=True)
class Model(clip.Model):
    """PE-Core."""

    vision: Vision = Vision()
    text: clip.Text = TEXT
    embed_dim: int = 1024
    activation: Literal["quick_gelu", "gelu"] = "gelu"
    unit_videos: bool = False  # scale a video's mean of unit vectors to unit length again
    merger: Merger = Merger()
    join: clip.Join = JOIN


_SMALL_TEXT = replace(TEXT, width=512, depth=12, heads=8)

SIZES = {
    "t16": Model(
        vision=Vision(width=192, heads=3, image_size=384, grid=24, mlp_width=768),
        text=_SMALL_TEXT,
        embed_dim=512,
    ),
    "s16": Model(
        vision=Vision(width=384, heads=6, image_size=384, grid=24, mlp_width=1536),
        text=_SMALL_TEXT,
        embed_dim=512,
    ),
    "b16": Model(),
    "l14": Model(
        vision=Vision(
            width=1024, depth=24, heads=16, patch_size=14, image_size=336, grid=24, mlp_width=4096
        ),
        join=replace(JOIN, layers=(18, 20, 22)),
    ),
    "g14": Model(
        vision=Vision(
            width=1536,
            depth=50,
            heads=16,
            patch_size=14,
            image_size=448,
            grid=32,
            mlp_width=8960,
            class_token=False,
        ),
        text=replace(TEXT, width=1280, heads=20, max_positions=72),
        embed_dim=1280,
        join=replace(JOIN, layers=(38, 42, 46)),
    ),
}
"""The released networks: PE-Core-T16-384, S16-384, B16-224, L14-336 and G14-448."""


@dataclass(frozen=True, kw_only=True)
class Data(clip.Data):
    """Videos with captions."""

    sampling: str = "ends"  # evenly from the first frame to the last
    crop: bool = False  # crop the middle square, instead of squashing frames to it


@dataclass(frozen=True, kw_only=True)
class Retrieval(clip.Retrieval):
    """Text-video retrieval: PE-Core-B16-224, without merging."""

    system: str = "pe_core"
    model: Model = Model()
    data: Data = Data()
    eval: RetrievalOptions = RetrievalOptions()
    train: clip.Training = clip.Training(augment=False)  # frames are resized as in evaluation

    def check(self) -> None:
        """Checks as `clip.Retrieval`, and that channels split for rotary positions and pooling."""
        super().check()
        vision = self.model.vision
        heads = ("model.vision.width", "a multiple of four times", "model.vision.heads")
        checks.relations(self, (*heads, vision.width % (4 * vision.heads) == 0))
        if vision.width % POOL_HEADS:
            raise UserError(
                f"config.model.vision.width={vision.width} must be a multiple of {POOL_HEADS}, the"
                " number of heads of the pooling"
            )
