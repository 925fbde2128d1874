"""InternVideo2-CLIP: zero-shot text-video retrieval, in the sizes B14 (the default), S14 and L14.

Source: InternVideo2 (arXiv 2403.15377); `docs/internvideo2.md` describes it.
"""

from dataclasses import dataclass
from typing import Literal

from tokmerge_jax.config import checks, clip, common
from tokmerge_jax.config.common import Merged, TextData
from tokmerge_jax.config.evaluation import RetrievalOptions
from tokmerge_jax.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Vision(common.Vision):
    """The video transformer."""

    patch_size: int = 14
    frames: int = 8
    table_frames: int = 8  # number of frames in the position table; other `frames` interpolate it
    grid: int = 16  # edge of the position table in patches; another image_size interpolates it


@dataclass(frozen=True, kw_only=True)
class Merger(common.Merger):
    """Merging of the tokens of all frames."""

    r: Merged = 0
    proportional: bool = True  # attention weights a merged token by its size
    pool_sizes: bool = True  # pooling weights a merged token by its size


@dataclass(frozen=True, kw_only=True)
class Model(common.TextModel):
    """InternVideo2-CLIP."""

    vision: Vision = Vision()
    text: clip.Text = clip.Text()
    pool_heads: int = 16
    pool_width: int = 768
    embed_dim: int = 512
    activation: Literal["gelu_tanh", "gelu"] = "gelu_tanh"  # of the video transformer
    merger: Merger = Merger()


S14 = Model(vision=Vision(width=384, heads=6))
L14 = Model(vision=Vision(width=1024, depth=24, heads=16))


@dataclass(frozen=True, kw_only=True)
class Data(TextData):
    """Videos with captions."""

    vocabulary: str = "clip"  # a file, or "clip": CLIP's own
    max_text_length: int = 77
    antialias: bool = False  # whether the resize of frames is antialiased


@dataclass(frozen=True, kw_only=True)
class Retrieval(common.Config):
    """Text-video retrieval: InternVideo2-CLIP B14, without merging."""

    system: str = "internvideo2"
    model: Model = Model()
    data: Data = Data()
    eval: RetrievalOptions = RetrievalOptions()
    train: clip.Training = clip.Training()

    def check(self) -> None:
        """Checks as `common.Config`, and that channels split for positions and pooling."""
        super().check()
        checks.positive(self, "model.vision", "model.text")
        checks.positive(self, "model.pool_heads", "model.pool_width", "model.embed_dim")
        checks.at_least(self, 0, "train.backbone_rate", "train.clip_norm")
        checks.positive(self, "train.parts")
        checks.above_zero(self, "train.gradient_scale")
        width, heads = self.model.vision.width, self.model.pool_heads
        pools = ("model.vision.width", "a multiple of", "model.pool_heads", width % heads == 0)
        checks.towers(self, pools)
        if width % 16:
            raise UserError(
                f"config.model.vision.width={width} must be a multiple of 16, since the position"
                " table's channels are split among frames, columns and rows"
            )
