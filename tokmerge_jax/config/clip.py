"""CLIP and TempMe: text-video retrieval by frames, in the sizes B/32 (the default), B/16 and L/14.

Source: TempMe (ICLR 2025) on CLIP (ICML 2021); `docs/tempme.md` names every key.
"""

from dataclasses import dataclass, replace
from typing import Literal

from tokmerge_jax.config import checks, common
from tokmerge_jax.config.common import Merged, TextData
from tokmerge_jax.config.evaluation import RetrievalOptions as RetrievalOptions
from tokmerge_jax.config.parts import Part
from tokmerge_jax.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Vision(common.Vision):
    """The image transformer."""

    patch_size: int = 32
    frames: int = 12


@dataclass(frozen=True, kw_only=True)
class Text(common.Text):
    """The text transformer."""

    width: int = 512
    depth: int = 12
    heads: int = 8
    vocab_size: int = 49408
    max_positions: int = 77


@dataclass(frozen=True, kw_only=True)
class Merger(common.Merger):
    """Merging within each frame; in TempMe, before clips join."""

    name: str = "none"  # or tempme, or any other merger within frames (docs/mergers.md)
    r: Merged = 0  # number of a frame's tokens that merge in each layer (before the joins)
    proportional: bool = True  # attention weights a merged token by its size


@dataclass(frozen=True, kw_only=True)
class Join(Part):
    """Joining of clips (TempMe only)."""

    layers: tuple[int, ...] = (8, 9, 10)  # layers before which clips join, counted from 0
    clips: tuple[int, ...] = (2, 2, 3)  # number of neighbouring clips that join in each of them
    cross: float = 30.0  # per cent of a joined clip's tokens that merge across clips
    intra: float = 10.0  # per cent of a clip's tokens that merge in each layer after the joins
    within: str = "tome"  # merger of all tokens within a clip or frame: any of merger.name
    positions: bool = True  # whether joining clips get learned positions


@dataclass(frozen=True, kw_only=True)
class Model(common.TextModel):
    """CLIP with TempMe's additions."""

    sizes: Literal["config", "checkpoint"] = "config"  # checkpoint: read them from the checkpoint
    vision: Vision = Vision()
    text: Text = Text()
    embed_dim: int = 512
    activation: Literal["quick_gelu", "gelu"] = "quick_gelu"  # gelu in most open_clip models
    lora_rank: int = 0  # rank of LoRA on q, k and v in all layers; 0 = no LoRA
    merger: Merger = Merger()
    join: Join = Join()


B16 = Vision(patch_size=16)
L14 = Vision(width=1024, depth=24, heads=16, patch_size=14)
L14_TEXT = Text(width=768, heads=12)

_JOINS = {12: (2, 2, 3), 64: (4, 4, 4)}  # frames -> clips that join in layers 8, 9 and 10

_MERGING = {"b32": (2, 30.0, 10.0), "b16": (10, 40.0, 20.0)}
"""Size -> (r per frame, per cent across clips, per cent within clips), as in the paper's tables.

B/16's percentages are not published; they follow from its published number of tokens and cost. The
published script has only those of B/32.
"""


@dataclass(frozen=True, kw_only=True)
class Data(TextData):
    """Videos with captions."""

    vocabulary: str = "clip"  # a file, or "clip": CLIP's own
    sampling: str = "seconds"  # one frame per second, spread evenly to the number of frames


@dataclass(frozen=True, kw_only=True)
class Training(common.Training):
    """Training of CLIP and TempMe."""

    batch_size: int = 128
    parts: int = 1
    epochs: int = 5
    warmup_epochs: float = 0.5
    learning_rate: float = 6e-4
    backbone_rate: float = 0.0  # learning rate of CLIP's own parameters, as a share; 0 = frozen
    weight_decay: float = 0.2
    clip_norm: float = 1.0  # largest norm of the gradient; 0 = no clipping
    gradient_scale: float = 1.0  # 0.25 reproduces four processes of the original
    augment: bool = True  # RandAugment
    remat: bool = False


@dataclass(frozen=True, kw_only=True)
class Retrieval(common.Config):
    """Text-video retrieval: CLIP, without merging."""

    system: str = "tempme"
    model: Model = Model()
    data: Data = Data()
    eval: RetrievalOptions = RetrievalOptions(metrics="clip4clip")
    train: Training = Training()

    def check(self) -> None:
        """Checks as `common.Config`; a checkpoint's sizes are checked when they are known."""
        super().check()
        checks.positive(self, "train.parts")
        checks.at_least(self, 0, "model.lora_rank", "train.backbone_rate", "train.clip_norm")
        checks.above_zero(self, "train.gradient_scale")
        if self.model.sizes == "config":
            checks.positive(self, "model.vision", "model.text", "model.embed_dim")
            checks.towers(self)
        elif not self.checkpoint:
            raise UserError(
                "config.model.sizes=checkpoint needs config.checkpoint, the file of a CLIP"
            )


def tempme(
    size: str, variant: str, data: Data, *, frames: int = 12, eval_split: str = ""
) -> Retrieval:
    """The shared part of TempMe's configurations.

    Args:
      size: "b32" or "b16".
      variant: the trained parameters. "lora": LoRA and positions only, as published; "full": all,
        with CLIP's own at the rate of CLIP4Clip; "script" (B/16 only): LoRA, with the merging of
        the published script.
      data: the videos.
      frames: number of frames per video, 12 or 64.
      eval_split: the split that training evaluates on; "" = none.

    Raises:
      UserError: if there is no such variant.
    """
    variants = ("lora", "full", "script") if size == "b16" else ("lora", "full")
    if variant not in variants:
        others = " or ".join(f":{name}" for name in variants[1:])
        raise UserError(
            f":{variant} is not a variant of this configuration; write {others}, or nothing"
        )
    r, cross, intra = _MERGING["b32" if variant == "script" else size]
    return Retrieval(
        model=Model(
            vision=replace(B16 if size == "b16" else Vision(), frames=frames),
            lora_rank=0 if variant == "full" else 8,
            merger=Merger(name="tempme", r=r),
            join=Join(clips=_JOINS[frames], cross=cross, intra=intra),
        ),
        data=data,
        train=Training(learning_rate=1e-4, backbone_rate=1e-3, eval_split=eval_split)
        if variant == "full"
        else Training(eval_split=eval_split),
    )
