"""Records and protocols that the rooms exchange.

Axis alphabet of every docstring and annotation: B batch (videos), T frames, H W pixels, N tokens
(of a clip, or of each frame beside an axis T), C channels, K heads, D head width, P texts per
video, L text length, E embedding width, F pooled vectors per video (1, or one per frame), V videos
and Q texts of a gallery. Other letters are explained where they are used.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import numpy as np

from tokmerge_jax.errors import UserError as UserError

T = TypeVar("T")

Params = Mapping[str, Any]  # Any: a mapping or an array
"""A Flax parameter tree: nested mappings of arrays."""

Json = Any  # readers check what they take from a file (`datasets.files`, `report.read`)
"""A JSON value."""

Batch = Mapping[str, np.ndarray | jax.Array]
"""Named arrays with one leading axis B, on the host or a device.

`video` uint8 [B,T,H,W,3]; `text_ids` int32 [B,L]; `text_mask` bool [B,L]; `index` int32 [B], the
row's index in its data set; `match_id` int32 [B], equal in rows that match each other; `mask` bool
[B], False on padding rows. Questions about a video add an axis P: `text_ids` [B,P,L]; `answer_ids`
int32 [B,P,J,L] and `answer_weights` float32 [B,P,J] of J answers. Videos of actions hold M
neighbouring frames for each of T frames, and in evaluation V views one after the other: `video`
[B,V T M,H,W,3]; `label` int32 [B], the action's number.
"""


@dataclasses.dataclass(frozen=True)
class Gallery:
    """The videos and texts of a retrieval evaluation, and which of them match.

    Attributes:
      videos: names of V videos.
      texts: Q captions or paragraphs from the annotations; systems clean them.
      relevant: for each text, the indices of its matching videos (at least one).
    """

    videos: tuple[str, ...]
    texts: tuple[str, ...]
    relevant: tuple[tuple[int, ...], ...]

    def without(self, gone: Collection[int]) -> tuple["Gallery", list[int]]:
        """Returns (the gallery without the videos `gone`, indices of the remaining texts).

        Texts without a remaining video are removed.
        """
        place = {video: i for i, video in enumerate(_left(self.videos, gone))}
        relevant = [tuple(place[v] for v in of_text if v in place) for of_text in self.relevant]
        texts = [text for text, videos in enumerate(relevant) if videos]
        of_texts = _of(self.texts, texts), _of(relevant, texts)
        return Gallery(_of(self.videos, place), *of_texts), texts


@dataclasses.dataclass(frozen=True)
class Choices:
    """Videos with their options, the same number for each, one of them right.

    Attributes:
      videos: names of V videos.
      options: each video's options.
      answers: the index of each video's right option.
    """

    videos: tuple[str, ...]
    options: tuple[tuple[str, ...], ...]
    answers: tuple[int, ...]

    def without(self, gone: Collection[int]) -> tuple["Choices", list[int]]:
        """Returns (the choices without the videos `gone`, indices of the remaining videos)."""
        left = _left(self.videos, gone)
        options, answers = _of(self.options, left), _of(self.answers, left)
        return Choices(_of(self.videos, left), options, answers), left


@dataclasses.dataclass(frozen=True)
class Questions:
    """Questions about videos, and the answers to choose from.

    Attributes:
      videos: names of V videos.
      ids: the questions' ids in the annotations.
      texts: the questions from the annotations; systems clean them.
      about: the index of each question's video; ascending.
      truths: each question's right answers.
      answers: the answer list, the same for all questions.
    """

    videos: tuple[str, ...]
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    about: tuple[int, ...]
    truths: tuple[tuple[str, ...], ...]
    answers: tuple[str, ...]

    def without(self, gone: Collection[int]) -> tuple["Questions", list[int]]:
        """Returns (the questions without the videos `gone`, indices of the remaining questions)."""
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
    """Videos with one action each.

    Attributes:
      videos: names of V videos.
      labels: each video's action, an index into `names`.
      names: names of all actions.
    """

    videos: tuple[str, ...]
    labels: tuple[int, ...]
    names: tuple[str, ...]

    def without(self, gone: Collection[int]) -> tuple["Actions", list[int]]:
        """Returns (the actions without the videos `gone`, indices of the remaining videos)."""
        left = _left(self.videos, gone)
        return Actions(_of(self.videos, left), _of(self.labels, left), self.names), left


def _left(videos: Sequence[str], gone: Collection[int]) -> list[int]:
    return [video for video in range(len(videos)) if video not in gone]


def _of(values: Sequence[T], places: Iterable[int]) -> tuple[T, ...]:
    return tuple(values[place] for place in places)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The resolved schedule of `config.model.merger.r`.

    Attributes:
      r: number of tokens that merge in each layer.
      tokens: number of tokens that enter the first layer, in the unit within which tokens merge (a
        clip or a frame).
      most: number of tokens that enter a layer -> largest r of the layer.
    """

    r: tuple[int, ...]
    tokens: int
    most: Callable[[int], int]


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """The cost of one layer: tokens in and out, and multiply-accumulates per clip."""

    name: str
    tokens_in: int
    tokens_out: int
    macs: int


@runtime_checkable
class NegativeSampler(Protocol):
    """Draws one column per row of `weights` [R,S] (not normalised, 0 = forbidden) -> int32 [R]."""

    def __call__(self, key: jax.Array, weights: jax.Array) -> jax.Array:
        """Draws a column for each row, with `key`."""
        ...
