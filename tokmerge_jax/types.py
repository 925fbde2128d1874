"""Records and protocols that the rooms share: what they hand to one another, and nothing else.

Axis alphabet of every docstring and annotation: B batch (videos), T frames, H W pixels, P texts
per video, N tokens, C channels, K heads, D head width, L text length, E embedding width, F pooled
vectors per video (1, or one per frame), V videos and Q texts of a gallery.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import flax.linen as nn
import jax
import numpy as np

from tokmerge_jax.config import Config
from tokmerge_jax.errors import UserError as UserError

T = TypeVar("T")

Params = Mapping[str, Any]
"""A Flax parameter tree: nested mappings of arrays."""

Batch = Mapping[str, np.ndarray | jax.Array]
"""Named arrays with one leading axis B, on the host or a device.

`video` uint8 [B,T,H,W,3]; `text_ids` int32 [B,L]; `text_mask` bool [B,L]; `index` int32 [B], the
row's place in its data set; `match_id` int32 [B], equal in rows that match one another;
`mask` bool [B], False on rows that only pad the batch. Questions about a video have an axis P more:
`text_ids` [B,P,L]; `answer_ids` int32 [B,P,J,L] and `answer_weights` float32 [B,P,J] of J answers.
Videos of actions hold M neighbouring frames for each of T, and an evaluation's V views of these one
after the other: `video` [B,V T M,H,W,3]; `label` int32 [B], the action's number.
"""

Predict = Callable[..., Any]
"""A pure function `(params, *arrays) -> arrays`, to be jitted by whoever calls it."""


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Videos and texts to be matched.

    Attributes:
      videos: V names of videos.
      texts: Q captions or paragraphs as the annotations have them; systems clean them.
      relevant: for each text, the places in `videos` of its true videos (at least one).
    """

    videos: tuple[str, ...]
    texts: tuple[str, ...]
    relevant: tuple[tuple[int, ...], ...]

    def without(self, gone: Collection[int]) -> tuple["Gallery", list[int]]:
        """The same less some videos and the texts that have no other; the texts that are left."""
        place = {video: i for i, video in enumerate(_left(self.videos, gone))}
        relevant = [tuple(place[v] for v in of_text if v in place) for of_text in self.relevant]
        texts = [text for text, videos in enumerate(relevant) if videos]
        of_texts = _of(self.texts, texts), _of(relevant, texts)
        return Gallery(_of(self.videos, place), *of_texts), texts


@dataclasses.dataclass(frozen=True)
class Choices:
    """Videos of which each has as many options, one of them right.

    Attributes:
      videos: V names.
      options: each video's options.
      answers: the place of each video's right option.
    """

    videos: tuple[str, ...]
    options: tuple[tuple[str, ...], ...]
    answers: tuple[int, ...]

    def without(self, gone: Collection[int]) -> tuple["Choices", list[int]]:
        """The same less some videos; the videos that are left."""
        left = _left(self.videos, gone)
        options, answers = _of(self.options, left), _of(self.answers, left)
        return Choices(_of(self.videos, left), options, answers), left


@dataclasses.dataclass(frozen=True)
class Questions:
    """Questions about videos, and the answers to choose from.

    Attributes:
      videos: V names of videos.
      ids: the questions' names.
      texts: the questions as the annotations have them; systems clean them.
      about: the place in `videos` of each question's video; ascending.
      truths: each question's right answers.
      answers: the answer list, one for all questions.
    """

    videos: tuple[str, ...]
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    about: tuple[int, ...]
    truths: tuple[tuple[str, ...], ...]
    answers: tuple[str, ...]

    def without(self, gone: Collection[int]) -> tuple["Questions", list[int]]:
        """The same less some videos and the questions about them; the questions that are left."""
        place = {video: i for i, video in enumerate(_left(self.videos, gone))}
        asked = [question for question, video in enumerate(self.about) if video in place]
        left = dataclasses.replace(
            self,
            videos=_of(self.videos, place),
            ids=_of(self.ids, asked),
            texts=_of(self.texts, asked),
            about=tuple(place[video] for video in _of(self.about, asked)),
            truths=_of(self.truths, asked),
        )
        return left, asked


@dataclasses.dataclass(frozen=True)
class Actions:
    """Videos of which each shows an action.

    Attributes:
      videos: V names.
      labels: each video's action, a place in `names`.
      names: of all actions.
    """

    videos: tuple[str, ...]
    labels: tuple[int, ...]
    names: tuple[str, ...]

    def without(self, gone: Collection[int]) -> tuple["Actions", list[int]]:
        """The same less some videos; the videos that are left."""
        left = _left(self.videos, gone)
        return Actions(_of(self.videos, left), _of(self.labels, left), self.names), left


def _left(videos: Sequence[str], gone: Collection[int]) -> list[int]:
    return [video for video in range(len(videos)) if video not in gone]


def _of(values: Sequence[T], places: Iterable[int]) -> tuple[T, ...]:
    return tuple(values[place] for place in places)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How many tokens merge in each of the layers that `config.model.merger.r` is about.

    Attributes:
      r: tokens that merge in each layer.
      tokens: that enter the first layer, of what tokens merge within: a clip, or a frame.
      protected: so many of them never merge.
    """

    r: tuple[int, ...]
    tokens: int
    protected: int = 0


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """What one layer costs: tokens that enter and leave, multiply-accumulates of one clip."""

    name: str
    tokens_in: int
    tokens_out: int
    macs: int


@runtime_checkable
class NegativeSampler(Protocol):
    """Draws one column per row of `weights` [R,S] (not normalised, 0 = forbidden) -> int32 [R]."""

    def __call__(self, key: jax.Array, weights: jax.Array) -> jax.Array:
        """A column for each row, random by `key`."""
        ...


@runtime_checkable
class Loss(Protocol):
    """Training loss `(params, batch, key, train)` -> (scalar, named scalars to log)."""

    def __call__(
        self, params: Params, batch: Batch, key: jax.Array, *, train: bool = True
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        """The loss of a batch; `train` switches dropout on, random by `key`."""
        ...


@runtime_checkable
class RememberingLoss(Protocol):
    """A loss that carries something from step to step beside the parameters.

    `(params, memory, batch, key, epoch, train)` -> (scalar, named scalars to log, next memory). No
    gradient is asked of the memory, a pytree; `epoch` (float32 []) is how many have finished.
    """

    def __call__(
        self,
        params: Params,
        memory: Any,
        batch: Batch,
        key: jax.Array,
        epoch: jax.Array,
        *,
        train: bool = True,
    ) -> tuple[jax.Array, Mapping[str, jax.Array], Any]:
        """The loss of a batch; `train` switches dropout on, random by `key`."""
        ...


@dataclasses.dataclass(frozen=True)
class System:
    """A network bound to its weights' names, its pixels, its text, its losses and its functions.

    Attributes:
      name: the system's name in the registry, for example "vid_tldr".
      config: the configuration that it was built from.
      module: the Flax module. Only `systems/` calls its `apply`.
      abstract_params: its parameter tree with `jax.ShapeDtypeStruct` leaves.
      init: `(key) -> params`, random parameters.
      predict: named pure functions. Retrieval systems offer
        `encode_video(params, video) -> {"embedding" [B,F,E] of unit norm, "tokens" [B,N,C]}`
        for uint8 frames [B,T,S,S,3] of the configuration's T and S (tokens only of those with a
        matching head, as the texts' states),
        `encode_text(params, text_ids, text_mask) -> {"embedding" [B,E] of unit norm,
        "states" [B,L,C]}`; those with a matching head also
        `video_memory(params, tokens [B,N,C]) -> tree`, what every text that is matched with a
        video shares, and
        `match(params, memory, states [B,P,L,C], text_mask [B,P,L]) -> float32 [B,P]`, and
        `choose(params, memory, video embedding [B,F,E], text embeddings [B,P,E], states, text_mask)
        -> {"match", "contrast"}`, probabilities [B,P] of P options.
        Question-answering systems offer `encode_video` (tokens alone), `video_memory`,
        `read(params, memory, text_ids [B,P,L], text_mask [B,P,L]) -> tree` of G = B * P questions,
        what every answer to one of them shares, and
        `next_piece(params, tree, text_mask, ids [G,M], visible [G,M,M], positions [G,M],
        places [G,E], pieces [G,E]) -> float32 [G,E]`: log-probabilities that a word piece comes
        after a place of `ids`, whose rows hold beginnings of answers (`visible` [reader, read]);
        those that also write answers
        `write(params, tree) -> {"ids" int32 [G,L], "score" float32 [G]}`.
        Those that write captions offer `caption(params, video, key=None)`, which gives the same of
        B videos; the key is of the pieces that are drawn, where some are.
        Systems that tell actions offer
        `classify(params, video) -> float32 [B,V,K]`, logits of K actions for each of V views.
        Systems that merge offer
        `trace_video(params, video) -> {"saliency", "origin", "size"}`, one entry a merging layer;
        where whole frames merge too also "frames", int32 [B,T]: which of the frames that are left
        holds each.
      loss: the training loss, or None; one that remembers where there is `memory`.
      name_rules: how PyTorch names become ours, a `convert.rules.RuleSet` for each kind of
        checkpoint; the first is what fine-tuning writes.
      constants: what belongs to the weights beside them: pixel mean and std, image size, frames.
      transform: `(frames uint8 [T,H,W,3]) -> uint8 [T,S,S,3]`, the evaluation's resize.
      augment: `(frames, numpy Generator) -> uint8 [T,S,S,3]`, the training's crop and flip; of
        systems that tell actions also whether it flipped them.
      tokenize: `(texts) -> (text_ids int32 [Q,L], text_mask bool [Q,L])`, cleaning included; loads
        the vocabulary when first called. None if the system reads no texts.
      collate: what the loss needs of training rows (`data.pairs`) beside their videos: their texts
        and ids as named arrays.
      schedule: the configuration's merging schedule.
      cost: multiply-accumulates per layer of encoding one video.
      cost_of: the same for another schedule's r.
      optimizer: the training's optax transformation, from the learning rate of each step.
      trained: patterns of the parameters that training changes ("vision/block_0/..."); none = all.
      tokenize_answers: as `tokenize`, for answers; None if the system answers no questions.
      spell: `(ids [Q,L]) -> texts` that word pieces spell; None if the system writes none.
      training_only: patterns of parameters that only some trainings or mergers have; weights that
        hold them as well fit.
      memory: `(params, key) -> what the loss carries from step to step`, at the start of training.
      settled: `(params, memory) -> params` to evaluate and to keep, of those that training holds
        and of what its loss remembers; None if they are the same.
      groups: the loss is a mean over rows, and training passes a batch in so many groups, one after
        the other: less memory.
    """

    name: str
    config: Config
    module: nn.Module
    abstract_params: Params
    init: Callable[[jax.Array], Params]
    predict: Mapping[str, Predict]
    loss: Loss | RememberingLoss | None
    name_rules: Sequence[Any]
    constants: Mapping[str, Any]
    transform: Callable[[np.ndarray], np.ndarray]
    augment: Callable[[np.ndarray, np.random.Generator], Any]
    tokenize: Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]] | None
    collate: Callable[[Sequence[Any]], Mapping[str, np.ndarray]]
    schedule: Schedule
    cost: Sequence[LayerCost]
    cost_of: Callable[[Sequence[int]], Sequence[LayerCost]]
    optimizer: Callable[[Callable[[Any], jax.Array]], Any]
    trained: tuple[str, ...] = ()
    tokenize_answers: Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]] | None = None
    spell: Callable[[np.ndarray], list[str]] | None = None
    training_only: tuple[str, ...] = ()
    memory: Callable[[Params, jax.Array], Any] | None = None
    settled: Callable[[Params, Any], Params] | None = None
    groups: int = 1
