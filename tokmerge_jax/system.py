"""The `System` record: a network with its weights, pixels, texts, losses and tasks.

Each task that a system supports is a record of pure functions. Evaluation and training know a
network only through these records, so a user's own encoder is evaluated in the same way.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeVar

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
Attention = Literal["joint", "space", "divided"]


@dataclasses.dataclass(frozen=True)
class Weights:
    """A network's parameters.

    Attributes:
      init: random key -> random parameters.
      names: tables that convert PyTorch's names to ours, one per kind of checkpoint; the first is
        for fine-tuned checkpoints.
      optional: regexes of parameters that may be present in a checkpoint but unused.
      known: the `shapes`, if an earlier process has found them.
    """

    init: Callable[[jax.Array], Params]
    names: Sequence[RuleSet]
    optional: tuple[str, ...] = ()
    known: Params | None = None

    @functools.cached_property
    def shapes(self) -> Params:
        """The parameter tree with `jax.ShapeDtypeStruct` leaves."""
        return self.known or jax.eval_shape(self.init, jax.random.key(0))


@dataclasses.dataclass(frozen=True)
class Pixels:
    """The frames that a network reads.

    Attributes:
      mean: mean of each colour channel in the training data, in 0..1.
      std: standard deviation of each colour channel.
      image_size: S, edge of a frame in pixels.
      frames: T, number of frames.
      transform: resize and crop for evaluation.
      augment: random crop, flip and colour changes for training.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int
    frames: int
    transform: Transform
    augment: Augment

    @property
    def constants(self) -> dict[str, object]:
        """The constants stored with weights, which are wrong for other pixel statistics."""
        size, frames = self.image_size, self.frames
        return {"mean": self.mean, "std": self.std, "image_size": size, "frames": frames}


@dataclasses.dataclass(frozen=True)
class Merging:
    """The merging schedule, and the cost of encoding a video.

    Attributes:
      schedule: the configuration's schedule.
      cost_of: number of tokens that merge in each layer -> cost of each layer.
      attention: what a token attends to: "joint" = all tokens of a clip, "space" = those of its
        frame, "divided" = over time, then those of its frame.
      drops: whether tokens are dropped, so that they cannot be traced.
    """

    schedule: Schedule
    cost_of: Callable[[Sequence[int]], Sequence[LayerCost]]
    attention: Attention = "joint"
    drops: bool = False

    @property
    def cost(self) -> Sequence[LayerCost]:
        """The cost of each layer, for one video with the configuration's schedule."""
        return self.cost_of(self.schedule.r)

    @property
    def gmac(self) -> float:
        """10^9 multiply-accumulates of encoding one video with the configuration's schedule."""
        return sum(layer.macs for layer in self.cost) / 1e9


@dataclasses.dataclass(frozen=True)
class Training:
    """A system's training functions.

    Attributes:
      loss: the loss; a `StatefulLoss` if there is `init_loss_state`.
      collate: training rows -> the arrays that the loss needs beside the videos.
      optimizer: learning-rate schedule -> optimiser.
      trainable: regexes of the parameters that are trained ("vision/block_0/..."); () = all.
      init_loss_state: `(params, key) -> initial state of the loss`.
      eval_params: `(params, state) -> params` for evaluation and export; None = the same.
      grad_accum: number of groups into which a batch is split, to save memory; needs a loss that is
        a mean over rows.
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
    """A matching head, which scores a pair by reading video and text together.

    Attributes:
      video_memory: a video's keys and values, shared by all texts that are matched with it.
      match: the score of each pair.
    """

    video_memory: VideoMemory
    match: Match


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """Text-video retrieval.

    Attributes:
      tokenize: captions or paragraphs -> ids.
      encode_video: returns "embedding" and, with a matching head, "tokens".
      encode_text: returns "embedding" and, with a matching head, "states".
      matching: the matching head that re-ranks candidates, if there is one.
    """

    tokenize: Tokenize
    encode_video: EncodeVideo
    encode_text: EncodeText
    matching: Matching | None = None


@dataclasses.dataclass(frozen=True)
class MultipleChoice:
    """Multiple choice.

    Attributes:
      tokenize: options -> ids.
      encode_video: returns "embedding" and, with a matching head, "tokens".
      encode_text: returns "embedding" and, with a matching head, "states".
      choose: the probabilities of the options.
      video_memory: a video's keys and values, shared by all its options; None without a matching
        head.
    """

    tokenize: Tokenize
    encode_video: EncodeVideo
    encode_text: EncodeText
    choose: Choose
    video_memory: VideoMemory | None = None


@dataclasses.dataclass(frozen=True)
class Writing:
    """Question answering by text generation.

    Attributes:
      write: generates an answer to each question.
      spell: ids [Q,L] -> texts.
      place_size: number of float32 values that the decoder caches per position.
    """

    write: Write
    spell: Callable[[np.ndarray], list[str]]
    place_size: int


@dataclasses.dataclass(frozen=True)
class Answering:
    """Video question answering.

    Attributes:
      tokenize: questions -> ids.
      tokenize_answers: answers -> ids.
      encode_video: returns "tokens".
      video_memory: a video's keys and values, shared by all its questions.
      read: a question's keys and values, shared by all its answers.
      next_piece: log-probabilities of answers, piece by piece.
      vocabulary: W, number of word pieces in the decoder's vocabulary.
      writing: generation of answers; None if the system only ranks them.
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
    """Action recognition.

    Attributes:
      classify: returns the logits of each view.
    """

    classify: Classify


@dataclasses.dataclass(frozen=True)
class ZeroShot:
    """Action recognition without training, by prompts.

    Attributes:
      retrieval: encodes videos and prompts.
      templates: sentences about an action, whose name replaces {}.
      unit_actions: whether the mean of an action's prompts is scaled to unit length.
    """

    retrieval: Retrieval
    templates: Sequence[str]
    unit_actions: bool = False


@dataclasses.dataclass(frozen=True)
class Captioning:
    """Video captioning.

    Attributes:
      tokenize: captions -> ids, with the vocabulary of `spell`.
      caption: generates a caption for each video.
      spell: ids [Q,L] -> texts.
    """

    tokenize: Tokenize
    caption: Caption
    spell: Callable[[np.ndarray], list[str]]


_TASKS: Mapping[type, tuple[str, str]] = {
    Retrieval: ("text-video retrieval", "msrvtt_b16"),
    MultipleChoice: ("multiple choice", "msrvtt_mc_b16"),
    Answering: ("question answering", "msrvtt_qa_b16"),
    Recognition: ("action recognition", "tdsclip_ssv2_b16"),
    ZeroShot: ("zero-shot action recognition", "internvideo2_k400_b14"),
    Captioning: ("captioning", "testa_pretrain"),
}
"""What a task is called, and a configuration whose system does it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class System:
    """A network with its weights, inputs, training and tasks.

    Attributes:
      name: the system's name in the registry, for example "vid_tldr".
      config: the configuration that it was built from.
      network: the Flax module. Only `systems/` calls its `apply`.
      weights: its parameters and their names in checkpoints.
      pixels: the frames that it reads.
      merging: its merging schedule and cost.
      training: its training functions; None if it can only be evaluated.
      retrieval: its functions for retrieval; None if it does not support the task.
      multiple_choice: the same for multiple choice.
      answering: the same for question answering.
      recognition: the same for action recognition.
      zero_shot: the same for action recognition by prompts.
      captioning: the same for captioning.
      trace_video: traces which tokens merge; None if that is not available.
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
    zero_shot: ZeroShot | None = None
    captioning: Captioning | None = None
    trace_video: TraceVideo | None = None

    def task(self, kind: type[T], needed_by: str = "") -> T:
        """The record of a task, by its class.

        Args:
          kind: a record of this module: `Retrieval`, `MultipleChoice`, `Recognition` ...
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
