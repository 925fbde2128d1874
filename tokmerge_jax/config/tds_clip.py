"""TDS-CLIP: action recognition by a side network beside CLIP, in the sizes B/16 (default) and L/14.

The defaults are those of Something-Something.

Source: TDS-CLIP (arXiv 2408.10688) on CLIP (ICML 2021); `docs/tds_clip.md` names every key.
"""

from dataclasses import dataclass
from typing import ClassVar

from tokmerge_jax.config import checks, common
from tokmerge_jax.config.common import ActionData as ActionData
from tokmerge_jax.config.common import Merged
from tokmerge_jax.config.evaluation import Evaluation as Evaluation
from tokmerge_jax.config.parts import Part
from tokmerge_jax.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Vision(common.Vision):
    """The frozen image transformer."""

    patch_size: int = 16
    frames: int = 8  # number of segments, with one frame each


@dataclass(frozen=True, kw_only=True)
class Side(Part):
    """The side network."""

    width: int = 320  # 512 in L/14; 0 = no side network, but the mean of CLIP's class tokens
    differences: bool = True  # whether it reads differences of neighbouring frames; no: Side4Video


@dataclass(frozen=True, kw_only=True)
class Merger(common.Merger):
    """Merging within each frame of the frozen transformer."""

    name: str = "none"  # or one that drops no tokens (docs/mergers.md)
    r: Merged = 0  # number of tokens that merge in each block
    proportional: bool = True  # attention weights a merged token by its size


@dataclass(frozen=True, kw_only=True)
class Model(common.ActionModel):
    """Both networks."""

    vision: Vision = Vision()
    side: Side = Side()
    classes: int = 174
    merger: Merger = Merger()
    activation: ClassVar[str] = "quick_gelu"  # of the frozen CLIP, which is OpenAI's


L14 = Vision(width=1024, depth=24, heads=16, patch_size=14)
L14_SIDE = Side(width=512)

KINETICS = ActionData(dataset="k400", sampling="ticks", clips=4, scale=256)


@dataclass(frozen=True, kw_only=True)
class Training(common.Training):
    """Training of the side network; `batch_size` counts clips."""

    batch_size: int = 256
    samples: int = 2
    groups: int = 8  # number of groups of a batch with separate batch norms, as on 8 GPUs
    epochs: int = 30
    warmup_epochs: float = 4.0
    learning_rate: float = 1e-3  # 1e-4 in L/14
    side_rate: float = 1.0  # side network's share of learning_rate, but 1 for batch norms and head
    schedule: str = "cosine_by_ten"  # changes every 10 steps; "cosine" changes in each step
    weight_decay: float = 0.15
    label_smoothing: float = 0.1
    mixup: bool = False  # mixup and CutMix
    augment: bool = True  # RandAugment
    grey: float = 0.0  # probability that a clip becomes grey
    min_area: float = 0.08  # smallest area of a crop, as a share of a frame
    remat: bool = False


@dataclass(frozen=True, kw_only=True)
class Recognition(common.Recognition):
    """Action recognition by a side network."""

    system: str = "tds_clip"
    seed: int = 1024
    model: Model = Model()
    data: ActionData = ActionData()
    eval: Evaluation = Evaluation(batch_size=2)
    train: Training = Training()

    @property
    def neighbours(self) -> int:
        """As `common.Recognition.neighbours`."""
        return 5 if self.model.side.differences else 1

    def check(self) -> None:
        """Checks as `common.Config.check`."""
        super().check()
        checks.positive(self, "model.vision", "train.groups", "train.samples")
        checks.at_least(self, 0, "train.side_rate")
        checks.share(self, "train.label_smoothing")
        checks.vision(self)
        side, neighbours = self.model.side, self.data.neighbours
        if side.width < 0 or side.width % 64:
            raise UserError(f"config.model.side.width={side.width} must be a multiple of 64, or 0")
        if neighbours % 2 == 0 or neighbours < (3 if side.differences else 1):
            raise UserError(
                f"config.data.neighbours={neighbours} must be an odd number, and at least 3 to"
                f" compute differences (config.model.side.differences={side.differences})"
            )
