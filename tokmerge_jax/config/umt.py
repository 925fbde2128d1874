"""vid-TLDR on UMT: retrieval, questions and actions, in the sizes B/16 (the default) and L/16.

Source: vid-TLDR (CVPR 2024) on UMT (ICCV 2023); `docs/vid_tldr.md` names every key.
"""

from dataclasses import dataclass, replace

from tokmerge_jax.config import checks, common
from tokmerge_jax.config.common import ActionData as ActionData
from tokmerge_jax.config.common import Merged
from tokmerge_jax.config.common import TextData as TextData
from tokmerge_jax.config.evaluation import AnsweringOptions as AnsweringOptions
from tokmerge_jax.config.evaluation import Evaluation as Evaluation
from tokmerge_jax.config.evaluation import RerankingOptions as RerankingOptions
from tokmerge_jax.config.parts import Part
from tokmerge_jax.errors import UserError

_TABLE = 2**27
"""Largest number of values in a position table; computing one takes a gigabyte."""


@dataclass(frozen=True, kw_only=True)
class Vision(common.Vision):
    """The video transformer."""

    patch_size: int = 16
    frames: int = 12
    table_frames: int = 0  # number of frames in the checkpoint's position table; 0 = `frames`
    grid: int = 0  # edge of its frames in patches; 0 = that of `image_size`
    keep_temporal: bool = False


@dataclass(frozen=True, kw_only=True)
class Text(common.BertText):
    """The text transformer; layers from `fusion_layer` on attend to the video."""

    fusion_layer: int = 9
    vocab_size: int = 30522


L16 = Vision(width=1024, depth=24, heads=16)
L16_TEXT = Text(width=1024, depth=24, heads=16, mlp_width=4096, fusion_layer=19)


@dataclass(frozen=True, kw_only=True)
class Merger(common.Merger):
    """vid-TLDR's merger, or another merger of tokens (docs/mergers.md)."""

    name: str = "vid_tldr"
    r: Merged = (0,)


@dataclass(frozen=True, kw_only=True)
class VisionModel(common.Model):
    """UMT's video side."""

    vision: Vision = Vision()
    merger: Merger = Merger()
    drop_path: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Model(VisionModel, common.TextModel):
    """UMT, for tasks with texts."""

    text: Text = Text()
    dropout: float = 0.1


@dataclass(frozen=True, kw_only=True)
class RetrievalModel(Model):
    """UMT with embeddings for retrieval."""

    embed_dim: int = 512  # 768 in L/16


@dataclass(frozen=True, kw_only=True)
class RecognitionModel(VisionModel, common.ActionModel):
    """UMT's video side with a classifier."""

    vision: Vision = Vision(frames=8, table_frames=8, grid=14)
    classes: int = 400


L16_CLIP = replace(L16, frames=8, table_frames=8, grid=14)

KINETICS = ActionData(dataset="k400", sampling="sparse", clips=4, scale=224)
SOMETHING = ActionData(dataset="ssv2", sampling="shifts", clips=2, scale=224)


@dataclass(frozen=True, kw_only=True)
class QuestionData(common.QuestionData):
    """Videos with questions."""

    max_text_length: int = 25
    max_answer_length: int = 5


@dataclass(frozen=True, kw_only=True)
class Losses(Part):
    """Weights of contrastive, matching and masked-language losses; 0 = not computed."""

    vtc: float = 1.0
    vtm: float = 1.0
    mlm: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Training(common.Training):
    """Training, for any task."""

    batch_size: int = 256
    epochs: int = 10
    warmup_epochs: float = 1.0
    learning_rate: float = 1e-5
    min_learning_rate: float = 0.01
    weight_decay: float = 0.02
    image_size_min_scale: float = 0.5  # random resized crop: smallest share of the area
    flip: bool = True
    mask_ratio: float = 0.0  # share of the patches that a training step leaves out
    backbone_rate: float = 1.0  # learning rate of the video transformer, as a share; 0 = frozen
    remat: bool = True


@dataclass(frozen=True, kw_only=True)
class RetrievalTraining(Training):
    """Training of retrieval."""

    losses: Losses = Losses()


@dataclass(frozen=True, kw_only=True)
class AnswerTraining(Training):
    """Training of question answering."""

    questions_per_video: int = 1


@dataclass(frozen=True, kw_only=True)
class RecognitionTraining(Training):
    """Training of action recognition; `batch_size` counts clips."""

    samples: int = 1
    label_smoothing: float = 0.1
    mixup: bool = False  # mixup and CutMix
    erasing: float = 0.0  # share of the clips in which noise replaces a box
    augment: bool = False  # RandAugment
    layer_decay: float = 1.0  # learning rate of each block as a share of the next one's


FINE_TUNING = RecognitionTraining(
    batch_size=512,
    samples=2,
    epochs=5,
    learning_rate=4e-5,
    min_learning_rate=0.05,
    weight_decay=0.05,
    image_size_min_scale=0.08,
    mixup=True,
    erasing=0.25,
    schedule="cosine_to_floor",
    augment=True,
    layer_decay=0.75,
)
"""UMT's fine-tuning of B/16 on Kinetics-400."""


@dataclass(frozen=True, kw_only=True)
class Config(common.Config):
    """A configuration of UMT."""

    model: VisionModel
    train: Training

    def check(self) -> None:
        """Checks as `common.Config.check`."""
        super().check()
        vision = self.model.vision
        checks.positive(self, "model.vision", leave_out=("table_frames", "grid"))
        checks.at_least(
            self, 0, "model.vision.table_frames", "model.vision.grid", "train.backbone_rate"
        )
        checks.share(self, "model.drop_path", "train.image_size_min_scale", "train.mask_ratio")
        checks.vision(self)
        if vision.keep_temporal and not isinstance(self.model, RetrievalModel):
            raise UserError(
                "config.model.vision.keep_temporal pools embeddings per frame, which only retrieval"
                " has; set it to False"
            )
        if self.train.mask_ratio == 1:
            raise UserError("config.train.mask_ratio=1 leaves no patch; use a number below 1")
        if self.train.mask_ratio and vision.keep_temporal:
            raise UserError(
                "config.model.vision.keep_temporal pools the patches of each frame, of which"
                " config.train.mask_ratio leaves unequal numbers; set one of them to False or 0"
            )
        frames = max(vision.frames, vision.table_frames)
        edge = max(vision.image_size // vision.patch_size, vision.grid)
        numbers = frames * edge**2 * vision.width
        if numbers > _TABLE:
            raise UserError(
                f"config.model.vision: the position table of {frames} frames of {edge} x {edge}"
                f" patches, {vision.width} wide, has {numbers} numbers; use sizes that give at most"
                f" {_TABLE}"
            )


@dataclass(frozen=True, kw_only=True)
class TextConfig(Config):
    """A configuration of UMT for a task with texts."""

    model: Model
    data: TextData

    def check(self) -> None:
        """Checks as `common.Config.check`."""
        super().check()
        text = self.model.text
        checks.positive(self, "model.text")
        checks.share(self, "model.dropout")
        fusion = text.fusion_layer < text.depth
        checks.towers(self, ("model.text.fusion_layer", "less than", "model.text.depth", fusion))


@dataclass(frozen=True, kw_only=True)
class Retrieval(TextConfig):
    """Text-video retrieval and multiple choice."""

    system: str = "vid_tldr"
    model: RetrievalModel = RetrievalModel()
    data: TextData = TextData()
    eval: RerankingOptions = RerankingOptions()
    train: RetrievalTraining = RetrievalTraining()


@dataclass(frozen=True, kw_only=True)
class QuestionAnswering(TextConfig):
    """Video question answering, with a decoder that scores answers."""

    system: str = "vid_tldr_qa"
    model: Model = Model()
    data: QuestionData = QuestionData()
    eval: AnsweringOptions = AnsweringOptions(first_piece=2)
    train: AnswerTraining = AnswerTraining()

    def check(self) -> None:
        """Checks as `common.Config.check`."""
        super().check()
        width = self.model.vision.width == self.model.text.width
        checks.relations(  # the same weights initialise both kinds of layers
            self, ("model.vision.width", "equal to", "model.text.width", width)
        )
        checks.answers(self)


@dataclass(frozen=True, kw_only=True)
class Recognition(common.Recognition, Config):
    """Action recognition; the tokens' mean is classified."""

    system: str = "vid_tldr_recognition"
    model: RecognitionModel = RecognitionModel()
    data: ActionData = KINETICS
    eval: Evaluation = Evaluation(batch_size=2)
    train: RecognitionTraining = RecognitionTraining()

    def check(self) -> None:
        """Checks as `common.Config.check`."""
        super().check()
        checks.positive(self, "train.samples")
        checks.share(self, "train.label_smoothing", "train.layer_decay", "train.erasing")
        if self.data.neighbours != 1:
            raise UserError(
                f"config.data.neighbours={self.data.neighbours} must be 1: this network reads"
                " single frames"
            )
