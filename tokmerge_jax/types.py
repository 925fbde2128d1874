"""Records and protocols that the rooms share: what they hand to one another, and nothing else.

Axis alphabet of every docstring and annotation: B batch (videos), T frames, H W pixels, P texts
per video, N tokens, C channels, K heads, D head width, L text length, E embedding width, F pooled
vectors per video (1, or one per frame), V videos and Q texts of a gallery.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import numpy as np

from tokmerge_jax.errors import UserError as UserError

T = TypeVar("T")

Params = Mapping[str, Any]  # a name tells whether a mapping or an array is below it
"""A Flax parameter tree: nested mappings of arrays."""

Json = Any  # whoever reads a file checks what it takes out (`datasets.files`, `report.read`)
"""A value that JSON holds."""

Batch = Mapping[str, np.ndarray | jax.Array]
"""Named arrays with one leading axis B, on the host or a device.

`video` uint8 [B,T,H,W,3]; `text_ids` int32 [B,L]; `text_mask` bool [B,L]; `index` int32 [B], the
row's place in its data set; `match_id` int32 [B], equal in rows that match one another;
`mask` bool [B], False on rows that only pad the batch. Questions about a video have an axis P more:
`text_ids` [B,P,L]; `answer_ids` int32 [B,P,J,L] and `answer_weights` float32 [B,P,J] of J answers.
Videos of actions hold M neighbouring frames for each of T, and an evaluation's V views of these one
after the other: `video` [B,V T M,H,W,3]; `label` int32 [B], the action's number.
"""


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
      most: the largest r of a layer, by the number of tokens that enter it.
    """

    r: tuple[int, ...]
    tokens: int
    most: Callable[[int], int]


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
