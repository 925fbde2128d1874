"""What all configurations share: the whole, and the keys that every family's parts begin with."""

import pathlib
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

from tokmerge_jax.config import checks
from tokmerge_jax.config.evaluation import Evaluation
from tokmerge_jax.config.parts import Part

C = TypeVar("C", bound="Config")

Merged = int | float | str | tuple[int | float, ...]
"""How many tokens merge in each layer, as `merging.schedule.resolve` reads it: 16, (600, 200, 100),
(0.3,), "600,200,100".
"""


@dataclass(frozen=True, kw_only=True)
class Mesh(Part):
    """Devices per axis; -1 = all that are left."""

    data: int = -1
    model: int = 1


@dataclass(frozen=True, kw_only=True)
class Vision(Part):
    """The sizes of a video transformer, if not set of a ViT-B."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    patch_size: int
    image_size: int = 224
    frames: int


@dataclass(frozen=True, kw_only=True)
class Merger(Part):
    """How tokens merge: the name of a merger, or "none", and how many."""

    name: str
    r: Merged


@dataclass(frozen=True, kw_only=True)
class Model(Part):
    """The network, of which the rooms that know no system read this alone."""

    vision: Vision
    merger: Merger
    label_smoothing: ClassVar[float] = 0.0  # of answers' likelihoods; a key where there is a choice


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
    """The sizes of a BERT, if not set of its base model."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_width: int = 3072
    max_positions: int = 512


@dataclass(frozen=True, kw_only=True)
class TextModel(Model):
    """A network that reads texts, too."""

    text: Text


@dataclass(frozen=True, kw_only=True)
class Data(Part):
    """Which videos are looked at, and how."""

    dataset: str = ""
    split: str = "test"
    folder: str = "data"  # where prepare_data.py put the data sets
    sampling: str = "intervals"  # which frames, a rule of `data.sampling.frames`
    trim_seconds: int | float = 0  # use only the first seconds of a video; 0 = all of it
    on_broken: Literal["stop", "skip"] = "stop"  # skip: leave unreadable videos out
    workers: int = 2
    # What is one value unless a family has a key for it:
    decode_size: ClassVar[int] = 0  # FFmpeg scales no frames while it decodes them
    clips: ClassVar[int] = 1  # of a video
    crops: ClassVar[int] = 1  # of a clip
    neighbours: ClassVar[int] = 1  # frames that are read around each chosen one, itself included


@dataclass(frozen=True, kw_only=True)
class TextData(Data):
    """Videos with captions, or with texts to choose from."""

    vocabulary: str = "bert-base-uncased"  # a file, or a name on the Hugging Face hub
    max_text_length: int = 32
    paragraph: bool = False  # join a video's captions into one text


@dataclass(frozen=True, kw_only=True)
class QuestionData(TextData):
    """Videos with questions, whose length `max_text_length` is, in word pieces."""

    max_answer_length: int
    answers: str = ""  # a JSON list; "" = the data set's; "split" = those of the evaluated split


@dataclass(frozen=True, kw_only=True)
class ActionData(Data):
    """Videos of actions, looked at in several clips and crops."""

    split: str = "val"
    labels: str = ""  # a CSV of the actions' names (id,name); "" = the data set's
    sampling: str = "segments"  # or ticks (Kinetics), windows (of 128 frames: dense)
    clips: int = 2  # so many times frames of all segments, in evaluation
    crops: int = 3  # of each clip, in evaluation: 1, 3, 5 or 10
    wrap: bool = True  # before a video file's first frame come its last; False = the first
    scale: int | tuple[int, int] = (256, 320)  # height, width before the crop; int: shorter side
    neighbours: int = -1  # frames read around each chosen one, it included; -1 = as the model needs


@dataclass(frozen=True, kw_only=True)
class Training(Part):
    """How a system is trained."""

    split: str = "train"
    batch_size: int
    epochs: int
    warmup_epochs: float
    learning_rate: float
    min_learning_rate: float = 0.0  # as a share of learning_rate
    schedule: str = "cosine"  # of the rate: cosine, cosine_by_epoch, decay_by_epoch, cosine_by_ten
    weight_decay: float
    remat: bool  # gradient checkpointing: less memory, a third more time
    eval_split: str = ""  # evaluate on it after epochs, and keep the best; "" = do not
    eval_epochs: int = 1  # after every so many epochs
    checkpoint_every: int = 500  # steps
    keep_checkpoints: int = 2
    # What is 1 unless a family has a key for it:
    parts: ClassVar[int] = 1  # a batch is encoded in so many: less memory, the same gradient
    samples: ClassVar[int] = 1  # clips that are made of each video that is read
    questions_per_video: ClassVar[int] = 1  # in a row of a batch; more of them share its encoding


@dataclass(frozen=True, kw_only=True)
class Config(Part):
    """A whole configuration; each system has a class of its own."""

    system: str
    checkpoint: str = ""  # an orbax folder, or a .pt / .pth / .safetensors file
    output: str = ""  # results, features and scores; "" = results/<config name>
    seed: int = 42
    dtype: str = "auto"  # auto: bfloat16 on accelerators, float32 on CPU
    mesh: Mesh = Mesh()
    model: Model
    data: Data
    eval: Evaluation
    train: Training

    def resolved(self: C) -> C:
        """The same, every value that follows another one spelt out."""
        return self

    def check(self) -> None:
        """Checks all that no file and no merging schedule is needed for.

        Raises:
          UserError: naming the key whose value cannot work.
        """
        self.override({})  # which checks the types
        checks.sizes(self)
        checks.at_least(self, 0, "data.workers")
        checks.positive(
            self, "train.epochs", "train.checkpoint_every", "train.eval_epochs",
            "train.questions_per_video",
        )  # fmt: skip
        self.eval.check(self)

    def folder(self, name: str) -> pathlib.Path:
        """Where results go: `output`, or `results/` and what the configuration is called."""
        return pathlib.Path(self.output or f"results/{name}")

    def training_data(self) -> Data:
        """The `data` part as training reads it."""
        return self.data
