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
    """The text transformer; every layer can attend to the video."""

    vocab_size: int = 30524  # BERT's, [DEC] and [ENC]


@dataclass(frozen=True, kw_only=True)
class Merger(common.Merger):
    """Merging of frames and patches: f1p12, for 32 frames; `F4P8` is for 96."""

    name: str = "testa"  # or prune; none; another merger of patches (docs/mergers.md)
    frames_by: str = ""  # merger of frames; "" = vote, or prune_frames if patches are pruned
    frames: Merged = 1  # number of frames that merge in each block
    r: Merged = 12  # number of patches per frame that merge in each block
    vote: str = "min"  # how patches' scores give a frame's score: min, mode, mode_half
    proportional: bool = False  # attention weights tokens by size; not with divided attention


F4P8 = Merger(frames=4, r=8)


@dataclass(frozen=True, kw_only=True)
class Model(common.TextModel):
    """TESTA, for any task."""

    vision: Vision = Vision()
    text: Text = Text()
    merger: Merger = Merger()
    dropout: float = 0.1


@dataclass(frozen=True, kw_only=True)
class RetrievalModel(Model):
    """TESTA with embeddings for retrieval."""

    embed_dim: int = 256


@dataclass(frozen=True, kw_only=True)
class AnsweringModel(Model):
    """TESTA with BLIP's answer decoder."""

    label_smoothing: float = 0.1  # of answers' likelihoods, in training and in ranking


@dataclass(frozen=True, kw_only=True)
class Data(TextData):
    """Videos with captions."""

    sampling: str = "strides"
    # Edge to which FFmpeg scales frames while decoding; 0 = frames are resized afterwards; -1 =
    # model.vision.image_size
    decode_size: int = -1
    max_words: int = 0  # largest number of words in a caption, which is also cleaned; 0 = unchanged


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
    """Training, for all tasks."""

    batch_size: int = 32  # 16 at 96 frames
    epochs: int = 10
    warmup_epochs: float = 0.0
    learning_rate: float = 1e-5
    schedule: str = "cosine_by_epoch"
    weight_decay: float = 0.05
    remat: bool = True


@dataclass(frozen=True, kw_only=True)
class RetrievalTraining(Training):
    """Training of retrieval."""

    parts: int = 1  # number of parts videos are encoded in: less memory, the same gradient
    queue: int = 32  # number of earlier rows in the contrastive loss
    alpha: float = 0.4  # share of the momentum encoders' soft targets in the contrastive loss
    alpha_epochs: float = 1.0  # number of epochs in which alpha rises from 0


@dataclass(frozen=True, kw_only=True)
class PretrainingTraining(RetrievalTraining):
    """Training of pretraining, on 8 GPUs."""

    batch_size: int = 96
    epochs: int = 20
    learning_rate: float = 5e-6
    min_learning_rate: float = 0.1
    schedule: str = "decay_by_epoch"
    weight_decay: float = 0.0
    queue: int = 57600
    alpha_epochs: float = 2.0
    decode_size: int = 256  # instead of data.decode_size; larger, since frames are cropped


@dataclass(frozen=True, kw_only=True)
class AnswerTraining(Training):
    """Training of question answering."""

    learning_rate: float = 2e-5
    answer_weight: float = 0.2  # weight of a question in the loss, divided among its answers
    questions_per_video: int = 1


@dataclass(frozen=True, kw_only=True)
class Caption(Part):
    """Generation of captions."""

    beams: int = 3  # number of beams; 1 = greedy decoding or sampling
    max_length: int = 20  # of a caption, including start and end tokens
    min_length: int = 5
    top_p: float = 0.0  # nucleus probability of sampling; 0 = no sampling


@dataclass(frozen=True, kw_only=True)
class Config(common.Config):
    """A configuration of TESTA."""

    model: Model
    data: Data | QuestionData

    def resolved(self: C) -> C:
        """Fills in `data.decode_size`."""
        if self.data.decode_size != -1:
            return self
        size = self.model.vision.image_size
        return replace(self, data=replace(self.data, decode_size=size))

    def check(self) -> None:
        """Checks as `common.Config.check`."""
        super().check()
        checks.positive(self, "model.vision", "model.text")
        checks.towers(self)
        checks.at_least(self, 0, "data.decode_size")
        checks.share(self, "model.dropout")
        if self.model.vision.attention == "divided" and self.model.merger.proportional:
            raise UserError(
                "config.model.merger.proportional needs config.model.vision.attention=joint or"
                " space; divided attention does not use sizes"
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
        """Checks as `common.Config.check`."""
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
        """The `data` part for training, with larger frames, since they are cropped."""
        return replace(self.data, decode_size=self.train.decode_size)

    def check(self) -> None:
        """Checks as `common.Config.check`."""
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
        """Checks as `common.Config.check`."""
        super().check()
        checks.answers(self)
        checks.above_zero(self, "train.answer_weight")
        fits = self.eval.max_length <= self.model.text.max_positions
        checks.relations(self, ("eval.max_length", "at most", "model.text.max_positions", fits))
        if not 0 <= self.model.label_smoothing < 1:
            smoothing = self.model.label_smoothing
            raise UserError(f"config.model.label_smoothing={smoothing} must be from 0 to below 1")
