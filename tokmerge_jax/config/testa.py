"""TESTA: TimeSformer-B/16 and BLIP's BERT for retrieval, pretraining and question answering.

Source: TESTA (Findings of EMNLP 2023) on BLIP (ICML 2022); `docs/testa.md` names every key.
"""

from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from tokmerge_jax.config import checks, common
from tokmerge_jax.config.common import Merged, TextData
from tokmerge_jax.config.evaluation import GeneratingOptions as GeneratingOptions
from tokmerge_jax.config.evaluation import SummingOptions as SummingOptions
from tokmerge_jax.config.parts import Part
from tokmerge_jax.errors import UserError

C = TypeVar("C", bound="Config")


@dataclass(frozen=True, kw_only=True)
class Vision(common.Vision):
    """The video transformer, at 32 frames or 96."""

    patch_size: int = 16
    frames: int = 32
    attention: Literal["divided", "joint", "space"] = "divided"
    learned_scale: bool = False


@dataclass(frozen=True, kw_only=True)
class Text(common.BertText):
    """The text transformer, of which every layer can read the video."""

    vocab_size: int = 30524  # BERT's, [DEC] and [ENC]


@dataclass(frozen=True, kw_only=True)
class Merger(common.Merger):
    """How frames and patches merge: f1p12, as for 32 frames; `F4P8` is for 96."""

    name: str = "testa"  # or prune; none; another merger of patches (docs/mergers.md)
    frames_by: str = ""  # what merges frames; "" = vote, or prune_frames where patches are pruned
    frames: Merged = 1  # that merge in each block
    r: Merged = 12  # patches of each frame that do
    vote: str = "min"  # a frame's score, of its patches': min, mode, mode_half
    proportional: bool = False  # sizes count in attention; not in divided attention


F4P8 = Merger(frames=4, r=8)


@dataclass(frozen=True, kw_only=True)
class Model(common.TextModel):
    """TESTA, of any task."""

    vision: Vision = Vision()
    text: Text = Text()
    merger: Merger = Merger()
    dropout: float = 0.1


@dataclass(frozen=True, kw_only=True)
class RetrievalModel(Model):
    """TESTA, which compares embeddings."""

    embed_dim: int = 256


@dataclass(frozen=True, kw_only=True)
class AnsweringModel(Model):
    """TESTA with BLIP's answer decoder."""

    label_smoothing: float = 0.1  # of answers' likelihoods, in training and in ranking


@dataclass(frozen=True, kw_only=True)
class Data(TextData):
    """Videos with captions."""

    sampling: str = "strides"
    # FFmpeg scales frames to this edge while they are decoded; 0 = they are resized afterwards;
    # -1 = to model.vision.image_size
    decode_size: int = -1
    max_words: int = 0  # of a caption, which then is cleaned too; 0 = as it is


@dataclass(frozen=True, kw_only=True)
class QuestionData(common.QuestionData):
    """Videos with questions."""

    sampling: str = "strides"
    decode_size: int = -1  # as in `Data`
    max_text_length: int = 35
    max_answer_length: int = 20
    answers: str = "split"


@dataclass(frozen=True, kw_only=True)
class Training(common.Training):
    """What all tasks train with."""

    batch_size: int = 32  # 16 at 96 frames
    epochs: int = 10
    warmup_epochs: float = 0.0
    learning_rate: float = 1e-5
    schedule: str = "cosine_by_epoch"
    weight_decay: float = 0.05
    remat: bool = True


@dataclass(frozen=True, kw_only=True)
class RetrievalTraining(Training):
    """What retrieval trains with."""

    parts: int = 1  # videos are encoded in so many parts: less memory, the same gradient
    queue: int = 32  # earlier rows that are contrasted with too
    alpha: float = 0.4  # share of contrast's targets that slow copies give
    alpha_epochs: float = 1.0  # in which it rises from 0


@dataclass(frozen=True, kw_only=True)
class PretrainingTraining(RetrievalTraining):
    """What pretraining trains with, on 8 GPUs."""

    batch_size: int = 96
    epochs: int = 20
    learning_rate: float = 5e-6
    min_learning_rate: float = 0.1
    schedule: str = "decay_by_epoch"
    weight_decay: float = 0.0
    queue: int = 57600
    alpha_epochs: float = 2.0
    decode_size: int = 256  # of videos, instead of data.decode_size: crops are taken of them


@dataclass(frozen=True, kw_only=True)
class AnswerTraining(Training):
    """What question answering trains with."""

    learning_rate: float = 2e-5
    answer_weight: float = 0.2  # of a question in the loss, shared out among its answers
    questions_per_video: int = 1


@dataclass(frozen=True, kw_only=True)
class Caption(Part):
    """How captions are written."""

    beams: int = 3  # of the search; 1 = the likeliest piece each time, or drawn ones
    max_length: int = 20  # of a caption, its start and end included
    min_length: int = 5
    top_p: float = 0.0  # draw from the likeliest pieces of this probability; 0 = draw none


@dataclass(frozen=True, kw_only=True)
class Config(common.Config):
    """A configuration of TESTA."""

    model: Model
    data: Data | QuestionData

    def resolved(self: C) -> C:
        """As that of `common.Config`."""
        if self.data.decode_size != -1:
            return self
        size = self.model.vision.image_size
        return replace(self, data=replace(self.data, decode_size=size))

    def check(self) -> None:
        """As that of `common.Config`."""
        super().check()
        checks.positive(self, "model.vision", "model.text")
        checks.towers(self)
        checks.at_least(self, 0, "data.decode_size")
        if self.model.vision.attention == "divided" and self.model.merger.proportional:
            raise UserError(
                "config.model.merger.proportional is for config.model.vision.attention=joint or"
                " space; divided attention knows no sizes"
            )


@dataclass(frozen=True, kw_only=True)
class Retrieval(Config):
    """Text-video retrieval."""

    system: str = "testa"
    model: RetrievalModel = RetrievalModel()
    data: Data = Data()
    eval: SummingOptions = SummingOptions()
    train: RetrievalTraining = RetrievalTraining()

    def check(self) -> None:
        """As that of `common.Config`."""
        super().check()
        checks.positive(self, "model.embed_dim", "train.batch_size", "train.queue", "train.parts")
        checks.share(self, "train.alpha")
        checks.above_zero(self, "train.alpha_epochs")
        fills = self.train.queue % self.train.batch_size == 0
        checks.relations(self, ("train.queue", "a multiple of", "train.batch_size", fills))


@dataclass(frozen=True, kw_only=True)
class Pretraining(Retrieval):
    """Contrast, matching and captioning of videos and pictures from the web."""

    system: str = "testa_pretrain"
    train: PretrainingTraining = PretrainingTraining()
    caption: Caption = Caption()

    def training_data(self) -> Data:
        """As that of `common.Config`: of larger frames, for crops are taken of them."""
        return replace(self.data, decode_size=self.train.decode_size)

    def check(self) -> None:
        """As that of `common.Config`."""
        super().check()
        checks.generation(self, "caption")
        checks.share(self, "caption.top_p")
        caption = self.caption
        if caption.top_p and caption.beams > 1:
            raise UserError(
                f"config.caption draws words (top_p={caption.top_p}) or searches"
                f" (beams={caption.beams}); set config.caption.top_p=0 or config.caption.beams=1"
            )
        larger = self.train.decode_size >= self.model.vision.image_size
        fits = caption.max_length <= self.model.text.max_positions
        checks.relations(
            self,
            ("train.decode_size", "at least", "model.vision.image_size", larger),
            ("caption.max_length", "at most", "model.text.max_positions", fits),
        )


@dataclass(frozen=True, kw_only=True)
class QuestionAnswering(Config):
    """Video question answering."""

    system: str = "testa_qa"
    model: AnsweringModel = AnsweringModel()
    data: QuestionData = QuestionData()
    eval: GeneratingOptions = GeneratingOptions()
    train: AnswerTraining = AnswerTraining()

    def check(self) -> None:
        """As that of `common.Config`."""
        super().check()
        checks.answers(self)
        checks.above_zero(self, "train.answer_weight")
        fits = self.eval.max_length <= self.model.text.max_positions
        checks.relations(self, ("eval.max_length", "at most", "model.text.max_positions", fits))
        if not 0 <= self.model.label_smoothing < 1:
            smoothing = self.model.label_smoothing
            raise UserError(f"config.model.label_smoothing={smoothing} must be from 0 to below 1")
