"""VideoPrism-LvT: zero-shot text-video retrieval, in the sizes B/18 (the default) and L/18.

Source: VideoPrism (ICML 2024); `docs/videoprism.md` describes it.
"""

from dataclasses import dataclass
from typing import Literal

from tokmerge_jax.config import checks, common
from tokmerge_jax.config.common import Merged
from tokmerge_jax.config.evaluation import RetrievalOptions
from tokmerge_jax.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Vision(common.Vision):
    """The video transformers; `depth` counts the blocks within frames."""

    patch_size: int = 18
    image_size: int = 288
    frames: int = 16
    mlp_width: int = 3072  # hidden width of the MLPs
    temporal_depth: int = 4  # number of blocks over time
    auxiliary_depth: int = 2  # number of blocks among all tokens of a video
    grid: int = 16  # edge of the position table in patches; another image_size interpolates it
    table_frames: int = 16  # frames of the table of times; another number of frames interpolates it


@dataclass(frozen=True, kw_only=True)
class Text(common.Text):
    """The text transformer."""

    width: int = 768  # as that of the video transformers
    depth: int = 12
    heads: int = 12
    vocab_size: int = 32000
    max_positions: int = 64


@dataclass(frozen=True, kw_only=True)
class Merger(common.Merger):
    """Merging within each frame."""

    r: Merged = 0  # number of a frame's tokens that merge in each block
    proportional: bool = True  # attention weights a merged token by its size
    place: Literal["clip", "frame"] = "clip"  # merge alike in all frames, or in each on its own
    after: Literal["dense", "regroup"] = "dense"  # with frame, after time: all places, or groups


@dataclass(frozen=True, kw_only=True)
class Model(common.TextModel):
    """VideoPrism-LvT."""

    vision: Vision = Vision()
    text: Text = Text()
    merger: Merger = Merger()


SIZES = {
    "b18": Model(),
    "l18": Model(
        vision=Vision(width=1024, depth=24, heads=16, frames=8, mlp_width=4096, table_frames=8),
        text=Text(width=1024, heads=16),
    ),
}
"""The released networks: VideoPrism-LvT-B, with 16 frames, and -L, with 8."""


@dataclass(frozen=True, kw_only=True)
class Data(common.TextData):
    """Videos with captions."""

    vocabulary: str = "c4_en"  # a file of SentencePiece, or "c4_en": VideoPrism's own
    max_text_length: int = 64
    sampling: str = "interval_starts"


@dataclass(frozen=True, kw_only=True)
class Retrieval(common.Config):
    """Text-video retrieval: VideoPrism-LvT-B, without merging. It has no training."""

    system: str = "videoprism"
    model: Model = Model()
    data: Data = Data()
    eval: RetrievalOptions = RetrievalOptions()
    train: common.Training = common.Training(
        batch_size=1, epochs=1, warmup_epochs=0.0, learning_rate=1e-5, weight_decay=0.0, remat=False
    )

    def check(self) -> None:
        """Checks as `common.Config`, and that both towers have vectors of one width."""
        super().check()
        checks.positive(self, "model.vision", "model.text")
        vision, text = self.model.vision, self.model.text
        merger, same = self.model.merger, vision.width == text.width
        checks.towers(self, ("model.text.width", "equal to", "model.vision.width", same))
        if (merger.place, merger.after) == ("clip", "regroup"):
            raise UserError(
                "config.model.merger.after=regroup is for config.model.merger.place=frame; with"
                " clip, tokens stay merged"
            )
