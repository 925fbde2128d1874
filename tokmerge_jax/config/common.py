"""Base classes of all configurations and of their parts."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeVar

from tokmerge_jax.config import checks
from tokmerge_jax.config.evaluation import Evaluation
from tokmerge_jax.config.parts import Part
from tokmerge_jax.objects import Place, place

C = TypeVar("C", bound="Config")
R = TypeVar("R", bound="Recognition")

Merged = int | float | str | tuple[int | float, ...]
"""Number of tokens that merge in each layer, in any form that `merging.schedule.resolve` accepts:
16, (600, 200, 100), (0.3,), "600,200,100".
"""


@dataclass(frozen=True, kw_only=True)
class Mesh(Part):
    """Number of devices per axis; -1 = all remaining ones. Batches are split over all devices."""

    data: int = -1  # parameters are replicated over it
    fsdp: int = 1  # parameters, gradients and the optimiser's moments are split over it


@dataclass(frozen=True, kw_only=True)
class Vision(Part):
    """The sizes of a video transformer; the defaults are those of ViT-B."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    patch_size: int
    image_size: int = 224
    frames: int


@dataclass(frozen=True, kw_only=True)
class Merger(Part):
    """Merging: the name of a merger, or "none", and its schedule."""

    name: str = "none"
    r: Merged = 0


@dataclass(frozen=True, kw_only=True)
class Model(Part):
    """The network: the keys that are common to all systems."""

    vision: Vision
    merger: Merger = Merger()
    label_smoothing: ClassVar[float] = 0.0  # of answers' likelihoods; a key in some families


@dataclass(frozen=True, kw_only=True)
class ActionModel(Model):
    """A network that tells actions apart."""

    classes: int  # number of actions


@dataclass(frozen=True, kw_only=True)
class Text(Part):
    """The sizes of a text transformer."""

    width: int
    depth: int
    heads: int
    vocab_size: int
    max_positions: int


@dataclass(frozen=True, kw_only=True)
class BertText(Text):
    """The sizes of a BERT; the defaults are those of its base model."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_width: int = 3072
    max_positions: int = 512


@dataclass(frozen=True, kw_only=True)
class TextModel(Model):
    """A network that also reads texts."""

    text: Text


@dataclass(frozen=True, kw_only=True)
class Data(Part):
    """The videos and how they are read."""

    dataset: str = ""
    split: str = "test"
    folder: str = "data"  # where `tokmerge prepare` stores the data sets
    sampling: str = "intervals"  # rule that selects frames, see `data.sampling.frames`
    trim_seconds: int | float = 0  # use only the first seconds of a video; 0 = all of it
    on_broken: Literal["stop", "skip"] = "stop"  # skip: leave unreadable videos out
    workers: int = 2  # number of processes that decode
    # Constants, unless a family has a key for them:
    labels: ClassVar[str] = ""  # a CSV of the actions' names; "" = the data set's
    decode_size: ClassVar[int] = 0  # 0: FFmpeg does not scale frames while decoding
    clips: ClassVar[int] = 1  # number of clips per video
    crops: ClassVar[int] = 1  # number of crops per clip
    neighbours: ClassVar[int] = 1  # number of frames read around each chosen one, itself included


@dataclass(frozen=True, kw_only=True)
class TextData(Data):
    """Videos with captions, or with texts to choose from."""

    vocabulary: str = "bert-base-uncased"  # a file, or a name on the Hugging Face hub
    max_text_length: int = 32
    paragraph: bool = False  # join a video's captions into one text


@dataclass(frozen=True, kw_only=True)
class QuestionData(TextData):
    """Videos with questions; `max_text_length` is a question's length in word pieces."""

    max_answer_length: int
    answers: str = ""  # a JSON list; "" = the data set's; "split" = those of the evaluated split


@dataclass(frozen=True, kw_only=True)
class ActionData(Data):
    """Videos of actions, evaluated in several clips and crops."""

    split: str = "val"
    labels: str = ""  # a CSV of the actions' names (id,name); "" = the data set's
    sampling: str = "segments"  # or another rule of `data.sampling.segments`
    clips: int = 2  # number of clips per video in evaluation
    crops: int = 3  # number of crops per clip in evaluation: 1, 3, 5 or 10
    wrap: bool = True  # neighbours before the first frame are the last ones; False = the first
    scale: int | tuple[int, int] = (256, 320)  # height, width before the crop; int: shorter side
    neighbours: int = -1  # number of frames read around each chosen one; -1 = as the model needs


@dataclass(frozen=True, kw_only=True)
class Training(Part):
    """The training of a system."""

    split: str = "train"
    together: int = 1  # number of consecutive rows that stay next to each other in every epoch
    batch_size: int
    epochs: int
    warmup_epochs: float
    learning_rate: float
    min_learning_rate: float = 0.0  # as a share of learning_rate
    schedule: str = "cosine"  # or cosine_to_floor, cosine_by_epoch, decay_by_epoch, cosine_by_ten
    weight_decay: float
    remat: bool  # gradient checkpointing: less memory, a third more time
    eval_split: str = ""  # evaluate on it between epochs and keep the best; "" = never
    eval_epochs: int = 1  # number of epochs between evaluations
    checkpoint_every: int = 500  # number of steps between checkpoints
    keep_checkpoints: int = 2
    log: Literal["", "tensorboard", "trackio", "wandb"] = ""  # a copy of metrics.jsonl
    # Constants, unless a family has a key for them:
    parts: ClassVar[int] = 1  # number of parts a batch is encoded in: less memory, same gradient
    samples: ClassVar[int] = 1  # number of training clips made from each decoded video
    questions_per_video: ClassVar[int] = 1  # number of questions per row; they share its encoding


@dataclass(frozen=True, kw_only=True)
class Config(Part):
    """A whole configuration; each system has a class of its own."""

    system: str
    checkpoint: str = ""  # a folder of ours, a .pt / .pth / .safetensors file, hub:NAME, hf://...
    output: str = ""  # results, features and scores; "" = results/<config name>
    seed: int = 42
    dtype: str = "auto"  # auto: bfloat16 on accelerators, float32 on CPU
    mesh: Mesh = Mesh()
    model: Model
    data: Data
    eval: Evaluation
    train: Training

    def resolved(self: C) -> C:
        """Returns the configuration with default values that depend on other keys filled in."""
        return self

    def check(self) -> None:
        """Checks everything that needs neither a file nor the merging schedule.

        Raises:
          UserError: if a value is invalid; the message names its key.
        """
        self.override({})  # checks the types
        checks.sizes(self)
        checks.at_least(
            self, 0, "data.workers", "data.trim_seconds", "train.warmup_epochs",
            "train.weight_decay",
        )  # fmt: skip
        checks.positive(
            self, "train.epochs", "train.checkpoint_every", "train.eval_epochs",
            "train.together", "train.questions_per_video", "train.batch_size",
            "train.keep_checkpoints",
        )  # fmt: skip
        checks.above_zero(self, "train.learning_rate")
        checks.share(self, "train.min_learning_rate")
        self.eval.check(self)

    def folder(self, name: str) -> Place:
        """The folder of results: `output`, or `results/NAME`.

        Raises:
          UserError: as `objects.place`.
        """
        return place(self.output or f"results/{name}")

    def training_data(self) -> Data:
        """The `data` part for training."""
        return self.data


@dataclass(frozen=True, kw_only=True)
class Recognition(Config):
    """Action recognition by a network that was trained on a list of actions.

    An evaluation batch holds all views of each video.
    """

    model: ActionModel
    data: ActionData

    @property
    def neighbours(self) -> int:
        """The number of frames that the network reads around each chosen one, itself included."""
        return 1

    def resolved(self: R) -> R:
        """Fills in `data.neighbours`."""
        if self.data.neighbours != -1:
            return self
        return replace(self, data=replace(self.data, neighbours=self.neighbours))

    def check(self) -> None:
        """Checks as `Config.check`."""
        super().check()
        checks.positive(self, "model.classes")
