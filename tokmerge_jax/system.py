"""What a system is: a network bound to its weights' names, pixels, texts, losses and tasks.

Each task that a system can do is a record of pure functions. Evaluation and training know nothing
of a network but these records, so that a user's own encoder is evaluated as those here are.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import flax.linen as nn
import jax
import numpy as np
import optax

from tokmerge_jax.config import Config
from tokmerge_jax.names import RuleSet
from tokmerge_jax.signatures import (
    Augment,
    Caption,
    Choose,
    Classify,
    Collate,
    EncodeText,
    EncodeVideo,
    LearningRate,
    Loss,
    LossState,
    Match,
    NextPiece,
    Read,
    StatefulLoss,
    Tokenize,
    TraceVideo,
    Transform,
    VideoMemory,
    Write,
)
from tokmerge_jax.types import LayerCost, Params, Schedule, UserError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Weights:
    """A network's parameters.

    Attributes:
      shapes: the parameter tree with `jax.ShapeDtypeStruct` leaves.
      init: random parameters, from a key.
      names: how PyTorch's names become ours, a table for each kind of checkpoint; the first is what
        fine-tuning writes.
      optional: patterns of parameters that only some trainings or mergers have; weights that hold
        them as well fit.
    """

    shapes: Params
    init: Callable[[jax.Array], Params]
    names: Sequence[RuleSet]
    optional: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Frames as a network reads them.

    Attributes:
      mean: of each colour in the training data, in 0..1.
      std: standard deviation of each colour.
      image_size: S.
      frames: T.
      transform: the evaluation's resize and crop.
      augment: the training's crop, flip and colours.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int
    frames: int
    transform: Transform
    augment: Augment

    @property
    def constants(self) -> dict[str, object]:
        """What is written beside weights, which would give nonsense on other pixels."""
        size, frames = self.image_size, self.frames
        return {"mean": self.mean, "std": self.std, "image_size": size, "frames": frames}


@dataclasses.dataclass(frozen=True)
class Merging:
    """How many tokens merge, and what encoding a video costs.

    Attributes:
      schedule: the configuration's.
      cost_of: multiply-accumulates of each layer where another r merges in each.
    """

    schedule: Schedule
    cost_of: Callable[[Sequence[int]], Sequence[LayerCost]]

    @property
    def cost(self) -> Sequence[LayerCost]:
        """Multiply-accumulates of each layer of encoding one video."""
        return self.cost_of(self.schedule.r)


@dataclasses.dataclass(frozen=True)
class Training:
    """How a system is trained.

    Attributes:
      loss: a `StatefulLoss` where there is `init_loss_state`.
      collate: what the loss needs of training rows beside their videos.
      optimizer: from the learning rate of each step.
      trainable: patterns of the parameters that training changes ("vision/block_0/..."); none =
        all.
      init_loss_state: `(params, key) -> state` of the loss at the start.
      eval_params: `(params, state) -> params` to evaluate and to keep; None: they are the same.
      grad_accum: the loss is a mean over rows, and a batch passes in as many groups, one after the
        other, which takes less memory.
    """

    loss: Loss | StatefulLoss
    collate: Collate
    optimizer: Callable[[LearningRate], optax.GradientTransformation]
    trainable: tuple[str, ...] = ()
    init_loss_state: Callable[[Params, jax.Array], LossState] | None = None
    eval_params: Callable[[Params, LossState], Params] | None = None
    grad_accum: int = 1


@dataclasses.dataclass(frozen=True)
class Matching:
    """Scores pairs of a video and a text by reading both.

    Attributes:
      video_memory: what all texts that are matched with a video share.
      match: the score of each pair.
    """

    video_memory: VideoMemory
    match: Match


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """Finds videos by text and texts by video.

    Attributes:
      tokenize: captions or paragraphs -> ids.
      encode_video: "embedding"; where there is a matching head also "tokens".
      encode_text: "embedding"; where there is a matching head also "states".
      matching: the head that scores candidates again, if there is one.
    """

    tokenize: Tokenize
    encode_video: EncodeVideo
    encode_text: EncodeText
    matching: Matching | None = None


@dataclasses.dataclass(frozen=True)
class MultipleChoice:
    """Chooses one of a video's options.

    Attributes:
      tokenize: options -> ids.
      encode_video: "embedding" and "tokens".
      encode_text: "embedding" and "states".
      video_memory: what all options of a video share.
      choose: the options' probabilities.
    """

    tokenize: Tokenize
    encode_video: EncodeVideo
    encode_text: EncodeText
    video_memory: VideoMemory
    choose: Choose


@dataclasses.dataclass(frozen=True)
class Writing:
    """Answers questions by writing.

    Attributes:
      write: an answer to each question.
      spell: ids [Q,L] -> the texts that they spell.
      place_size: float32 numbers that the decoder keeps of each place that it has read.
    """

    write: Write
    spell: Callable[[np.ndarray], list[str]]
    place_size: int


@dataclasses.dataclass(frozen=True)
class Answering:
    """Answers questions about videos.

    Attributes:
      tokenize: questions -> ids.
      tokenize_answers: answers -> ids.
      encode_video: "tokens".
      video_memory: what all questions about a video share.
      read: what all answers to a question share.
      next_piece: how likely answers are, piece by piece.
      vocabulary: W, how many word pieces the decoder knows.
      writing: writes answers, if the system does.
    """

    tokenize: Tokenize
    tokenize_answers: Tokenize
    encode_video: EncodeVideo
    video_memory: VideoMemory
    read: Read
    next_piece: NextPiece
    vocabulary: int
    writing: Writing | None = None


@dataclasses.dataclass(frozen=True)
class Recognition:
    """Tells which actions videos show.

    Attributes:
      classify: logits of each view.
    """

    classify: Classify


@dataclasses.dataclass(frozen=True)
class Captioning:
    """Writes captions of videos.

    Attributes:
      tokenize: captions -> ids, by the vocabulary that they are spelled by.
      caption: a caption of each video.
      spell: ids [Q,L] -> the texts that they spell.
    """

    tokenize: Tokenize
    caption: Caption
    spell: Callable[[np.ndarray], list[str]]


_TASKS: Mapping[type, tuple[str, str]] = {
    Retrieval: ("text-video retrieval", "msrvtt_b16"),
    MultipleChoice: ("multiple choice", "msrvtt_mc_b16"),
    Answering: ("question answering", "msrvtt_qa_b16"),
    Recognition: ("action recognition", "tdsclip_ssv2_b16"),
    Captioning: ("captioning", "testa_pretrain"),
}
"""What a task is called, and a configuration whose system does it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class System:
    """A network with all that is done with it.

    Attributes:
      name: the system's name in the registry, for example "vid_tldr".
      config: the configuration that it was built from.
      network: the Flax module. Only `systems/` calls its `apply`.
      weights: its parameters and their names elsewhere.
      pixels: how frames become its input.
      merging: how many of its tokens merge, and what that costs.
      training: None if it is only evaluated.
      retrieval: a record for each task; None where the system cannot do it.
      multiple_choice: as `retrieval`.
      answering: as `retrieval`.
      recognition: as `retrieval`.
      captioning: as `retrieval`.
      trace_video: which tokens merge; None where that is not known.
    """

    name: str
    config: Config
    network: nn.Module
    weights: Weights
    pixels: Pixels
    merging: Merging
    training: Training | None = None
    retrieval: Retrieval | None = None
    multiple_choice: MultipleChoice | None = None
    answering: Answering | None = None
    recognition: Recognition | None = None
    captioning: Captioning | None = None
    trace_video: TraceVideo | None = None

    def task(self, kind: type[T], needed_by: str = "") -> T:
        """The record of a task, by its class.

        Args:
          kind: `Retrieval`, `MultipleChoice`, `Answering`, `Recognition` or `Captioning`.
          needed_by: the option that asks for the task, if one does.

        Raises:
          UserError: if the system cannot do the task.
        """
        for record in vars(self).values():
            if isinstance(record, kind):
                return record
        words, example = _TASKS[kind]
        reason = f", which {needed_by} needs" if needed_by else ""
        raise UserError(
            f"the system {self.name!r} does not support {words}{reason}; use a configuration of"
            f" one that does, for example {example}"
        )
