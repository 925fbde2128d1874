"""Prepared data sets as batches: the gallery of an evaluation, the endless rows of a training.

Every batch is a function of its place in the sequence (and, in training, of the seed), so both can
go on at any row or step with the very batches that an uninterrupted run would have had.
"""

import dataclasses
import functools
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from grain.sources import RandomAccessDataSource
from ml_collections import ConfigDict

from tokmerge_jax.data import pairs, prepared
from tokmerge_jax.data.clips import Decoder, decoder, in_order
from tokmerge_jax.data.datasets.video_text import KINDS
from tokmerge_jax.types import Batch, Choices, Gallery, Questions, UserError

G = TypeVar("G", Gallery, Choices, Questions)
T = TypeVar("T")
AnyRow = pairs.Row | pairs.AnswerRow

_ENDLESS = 2**40  # rows
_REPLACEMENTS = 9  # of one row; so many broken videos one after the other are no accident

Transform = Callable[[np.ndarray], np.ndarray]
Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]
Collate = Callable[[Sequence[Any]], Mapping[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Source(Generic[G]):
    """What an evaluation is about, and its videos.

    Attributes:
      gallery: names of videos, texts, and which belong together.
      broken: names of videos that were left out.
      paths: the files of the gallery's videos.
      decoder: a path to its frames.
      workers: how many processes decode.
    """

    gallery: G
    broken: tuple[str, ...]
    paths: tuple[str, ...]
    decoder: Decoder
    workers: int

    def batches(self, transform: Transform, batch_size: int, start: int = 0) -> Iterator[Batch]:
        """The videos from row `start` of the gallery to its end.

        Args:
          transform: uint8 frames [T,H,W,3] -> [T,S,S,3]; picklable.
          batch_size: B.
          start: the first row.

        Yields:
          `video` uint8 [B,T,S,S,3], `index` int32 [B], `mask` bool [B]. What pads the last batch is
          all zero, its index -1.

        Raises:
          UserError: naming a video that cannot be decoded.
        """
        make = _GalleryClip(self.paths, self.decoder, transform)
        clips = in_order(make, start, len(self.paths), self.workers)
        for batch, videos in enumerate(_chunks(clips, batch_size)):
            row, count = start + batch * batch_size, len(videos)
            video = np.zeros((batch_size, *videos[0].shape), np.uint8)
            np.stack(videos, out=video[:count])
            mask = np.arange(batch_size) < count
            index = np.where(mask, np.arange(row, row + batch_size), -1).astype(np.int32)
            yield {"video": video, "index": index, "mask": mask}


@dataclasses.dataclass(frozen=True)
class TrainingSource:
    """Videos with captions, or with questions and answers.

    Attributes:
      rows: a video's path and what belongs to it; picklable.
      decoder: a path to its frames.
      workers: how many processes decode.
      replace: a row whose frames cannot be decoded gives way to a random other one.
    """

    rows: RandomAccessDataSource[AnyRow]
    decoder: Decoder
    workers: int
    replace: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def batches(
        self, augment: Augment, collate: Collate, batch_size: int, seed: int, step: int = 0
    ) -> Iterator[Batch]:
        """Batches from `step` on, without end; each epoch is a new permutation of the rows.

        Rows that do not fill an epoch's last batch are left out of that epoch.

        Args:
          augment: uint8 frames [T,H,W,3] and a generator -> [T,S,S,3]; picklable.
          collate: rows -> named arrays of what they hold beside their videos.
          batch_size: B.
          seed: decides permutations, frames and augmentation.
          step: the number of the first batch.

        Yields:
          `video` uint8 [B,T,S,S,3], and what `collate` makes of the rows.

        Raises:
          UserError: if a batch is larger than the data set, or naming a video that cannot be
            decoded, if it is not replaced.
        """
        if batch_size > len(self):
            raise UserError(
                f"config.train.batch_size={batch_size} is more than the {len(self)} training pairs"
            )
        order = _Order(len(self), batch_size, seed)
        replacements = _REPLACEMENTS if self.replace else 0
        make = _TrainingClip(self.rows, order, self.decoder, augment, seed, replacements)
        clips = in_order(make, step * batch_size, _ENDLESS, self.workers)
        for chunk in _chunks(clips, batch_size):
            rows, videos = zip(*chunk, strict=True)
            yield {"video": np.stack(videos), **collate(rows)}


def open_retrieval(config: ConfigDict, frames: int) -> Source[Gallery]:
    """The gallery of a prepared data set.

    Args:
      config: the `data` part of a configuration.
      frames: T, how many frames of a video are looked at.

    Raises:
      UserError: if the data set is of another kind, if it or the split is not prepared, or holds
        unusable videos while `on_broken` is "stop".
    """
    records, broken = _records(config, config.split, "captions")
    gallery, paths = pairs.gallery(records)
    return Source(gallery, broken, paths, decoder(config, frames, config.folder), config.workers)


def open_choices(config: ConfigDict, frames: int) -> Source[Choices]:
    """A prepared data set of multiple choice; arguments and errors as in `open_retrieval`."""
    records, broken = _records(config, config.split, "choices")
    choices, paths = pairs.choices(records)
    return Source(choices, broken, paths, decoder(config, frames, config.folder), config.workers)


def open_questions(config: ConfigDict, frames: int) -> Source[Questions]:
    """A prepared data set of questions; arguments and errors as in `open_retrieval`.

    Raises:
      UserError: also if there is no list of answers to choose from.
    """
    records, broken = _records(config, config.split, "questions")
    questions, paths = pairs.questions(records, prepared.answers(config))
    return Source(questions, broken, paths, decoder(config, frames, config.folder), config.workers)


def open_training(
    config: ConfigDict, frames: int, split: str = "train", questions: int = 1
) -> TrainingSource:
    """The training rows of a prepared data set; errors as in `open_retrieval`.

    Args:
      config: the `data` part of a configuration.
      frames: T, how many frames of a video are looked at.
      split: the split's name.
      questions: how many questions about a video a row holds, in a data set of questions.
    """
    rows = _rows(config, split, questions)
    replace = config.on_broken == "skip"
    return TrainingSource(rows, decoder(config, frames, config.folder), config.workers, replace)


def _rows(config: ConfigDict, split: str, questions: int) -> RandomAccessDataSource[AnyRow]:
    spec = prepared.spec(config.dataset)
    if spec.on_demand:
        return pairs.StoredRows(prepared.stored(config, split))
    records, _ = _records(config, split, spec.kind)
    if spec.kind == "questions":
        return pairs.answer_rows(records, questions)
    if spec.kind == "captions":
        return pairs.rows(records, spec.match_by_caption)
    raise UserError(f"config.data.dataset={config.dataset!r} has {spec.kind}; only evaluate it")


def _records(config: ConfigDict, split: str, kind: str) -> tuple[list[Any], tuple[str, ...]]:
    """The records of a split, which must be of `kind`; names of videos left out."""
    found = prepared.spec(config.dataset).kind
    if found != kind:
        raise UserError(
            f"config.data.dataset={config.dataset!r} holds {found}, where {kind} are needed; choose"
            " the configuration of that data set"
        )
    records, broken = prepared.records(config, split)
    if not all(isinstance(record, KINDS[kind]) for record in records):
        raise UserError(f"data set {config.dataset} in {config.folder!r} is old; prepare it again")
    return records, broken


@dataclasses.dataclass(frozen=True)
class _GalleryClip:
    """A row's place -> its transformed frames."""

    paths: tuple[str, ...]
    decoder: Decoder
    transform: Transform

    def __call__(self, place: int) -> np.ndarray:
        return self.transform(self.decoder(self.paths[place]))


@dataclasses.dataclass(frozen=True)
class _Order:
    """A place in the endless sequence -> the row that stands there."""

    rows: int
    batch_size: int
    seed: int

    def __call__(self, place: int) -> int:
        per_epoch = self.rows // self.batch_size * self.batch_size
        epoch, offset = divmod(int(place), per_epoch)
        return int(_permutation(self.rows, self.seed, epoch)[offset])


@functools.lru_cache(maxsize=2)
def _permutation(rows: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, 0, epoch]).permutation(rows)


@dataclasses.dataclass(frozen=True)
class _TrainingClip:
    """A place in the endless sequence -> its row, and augmented frames of its video."""

    rows: RandomAccessDataSource[AnyRow]
    order: _Order
    decoder: Decoder
    augment: Augment
    seed: int
    replacements: int

    def __call__(self, place: int) -> tuple[AnyRow, np.ndarray]:
        rng = np.random.default_rng([self.seed, 1, int(place)])
        row = self.rows[self.order(place)]
        for _ in range(self.replacements):
            try:
                return row, self._clip(row, rng)
            except UserError as error:
                print(f"\n{error}; another clip takes its place", file=sys.stderr)
                row = self.rows[int(rng.integers(len(self.rows)))]
        return row, self._clip(row, rng)

    def _clip(self, row: AnyRow, rng: np.random.Generator) -> np.ndarray:
        return self.augment(self.decoder(row.path, rng), rng)


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk
