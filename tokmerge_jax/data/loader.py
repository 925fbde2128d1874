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
from tokmerge_jax.types import Actions, Batch, Choices, Gallery, Questions, UserError

G = TypeVar("G", Gallery, Choices, Questions, Actions)
T = TypeVar("T")
AnyRow = pairs.AnyRow

_ENDLESS = 2**40  # rows
_REPLACEMENTS = 9  # of one row; so many broken videos one after the other are no accident

Transform = Callable[[np.ndarray], np.ndarray]
Augment = Callable[[np.ndarray, np.random.Generator], Any]
Collate = Callable[[Sequence[Any]], Mapping[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Source(Generic[G]):
    """What an evaluation is about, and its videos.

    Attributes:
      gallery: names of videos, texts or actions, and which belong together.
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
          transform: uint8 frames [T,H,W,3] -> [T,S,S,3] (or as many of each crop); picklable.
          batch_size: B.
          start: the first row.

        Yields:
          `video` uint8 [B,T,S,S,3], `index` int32 [B], `mask` bool [B]. What pads the last batch is
          all zero, its index -1.

        Raises:
          UserError: naming a video that cannot be decoded.
        """
        make = _GalleryClip(self.paths, self.decoder, transform)
        ahead = 1 if isinstance(self.gallery, Actions) else 4  # many views: 72 MB a video, say
        clips = in_order(make, start, len(self.paths), self.workers, ahead)
        for batch, videos in enumerate(_chunks(clips, batch_size)):
            row, count = start + batch * batch_size, len(videos)
            video = np.zeros((batch_size, *videos[0].shape), np.uint8)
            np.stack(videos, out=video[:count])
            mask = np.arange(batch_size) < count
            index = np.where(mask, np.arange(row, row + batch_size), -1).astype(np.int32)
            yield {"video": video, "index": index, "mask": mask}


@dataclasses.dataclass(frozen=True)
class TrainingSource:
    """Videos with captions, with questions and answers, or with actions.

    Attributes:
      rows: a video's path and what belongs to it; picklable.
      decoder: a path to its frames.
      workers: how many processes decode.
      replace: a row whose frames cannot be decoded gives way to a random other one.
      samples: of each video that is read, made of the same frames, each augmented by itself.
    """

    rows: RandomAccessDataSource[AnyRow]
    decoder: Decoder
    workers: int
    replace: bool = False
    samples: int = 1

    def __len__(self) -> int:
        """How many samples an epoch may have."""
        return len(self.rows) * self.samples

    def batches(
        self, augment: Augment, collate: Collate, batch_size: int, seed: int, step: int = 0
    ) -> Iterator[Batch]:
        """Batches from `step` on, without end; each epoch is a new permutation of the rows.

        Rows that do not fill an epoch's last batch are left out of that epoch. A batch holds one
        sample of each of its videos, then another of each: every n-th row is a group of videos with
        all their samples, where n divides the videos.

        Args:
          augment: uint8 frames [T,H,W,3] and a generator -> [T,S,S,3], of actions also whether they
            are mirrored; picklable.
          collate: rows -> named arrays of what they hold beside their videos.
          batch_size: B, samples.
          seed: decides permutations, frames and augmentation.
          step: the number of the first batch.

        Yields:
          `video` uint8 [B,T,S,S,3], and what `collate` makes of the rows.

        Raises:
          UserError: if a batch is larger than the data set or cuts a video's samples apart, or
            naming a video that cannot be decoded, if it is not replaced.
        """
        if self.samples < 1 or batch_size % self.samples:
            raise UserError(
                f"config.train.batch_size={batch_size} must be a multiple of"
                f" config.train.samples={self.samples}, which must be at least 1"
            )
        if batch_size > len(self):
            what = "samples" if isinstance(self.rows[0], pairs.ActionRow) else "pairs"
            raise UserError(
                f"config.train.batch_size={batch_size} is more than the {len(self)} training {what}"
            )
        videos_of_batch = batch_size // self.samples
        order = _Order(len(self.rows), videos_of_batch, seed)
        replacements = _REPLACEMENTS if self.replace else 0
        make = _TrainingClips(
            self.rows, order, self.decoder, augment, seed, replacements, self.samples
        )
        clips = in_order(make, step * videos_of_batch, _ENDLESS, self.workers)
        for chunk in _chunks(clips, videos_of_batch):
            by_sample = zip(*chunk, strict=True)
            rows, videos = zip(*itertools.chain.from_iterable(by_sample), strict=True)
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


def open_actions(config: ConfigDict, frames: int) -> Source[Actions]:
    """A prepared data set of actions; arguments and errors as in `open_retrieval`.

    Raises:
      UserError: also if `config.labels` names no table of its actions' names.
    """
    records, broken = _records(config, config.split, "actions")
    actions, paths = pairs.actions(records, prepared.labels(config))
    return Source(actions, broken, paths, decoder(config, frames, config.folder), config.workers)


def open_training(
    config: ConfigDict, frames: int, split: str = "train", questions: int = 1, samples: int = 1
) -> TrainingSource:
    """The training rows of a prepared data set; errors as in `open_retrieval`.

    Args:
      config: the `data` part of a configuration.
      frames: T, how many frames of a video are looked at; of the videos of a data set of actions,
        those that are listed with fewer are left out.
      split: the split's name.
      questions: how many questions about a video a row holds, in a data set of questions.
      samples: see `TrainingSource`.
    """
    rows, decode = _rows(config, split, questions, frames), decoder(config, frames, config.folder)
    return TrainingSource(rows, decode, config.workers, config.on_broken == "skip", samples)


def _rows(
    config: ConfigDict, split: str, questions: int, frames: int
) -> RandomAccessDataSource[AnyRow]:
    spec = prepared.spec(config.dataset)
    if spec.on_demand:
        return pairs.StoredRows(prepared.stored(config, split))
    records, _ = _records(config, split, spec.kind)
    if spec.kind == "questions":
        return pairs.answer_rows(records, questions)
    if spec.kind == "actions":
        rows = pairs.action_rows(records, frames, spec.mirror)
        if short := len(records) - len(rows):
            videos = f"{short} of {len(records)} videos of {config.dataset}, split {split}"
            print(f"{videos}, are listed with less than {frames} frames: left out", file=sys.stderr)
        return rows
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
class _TrainingClips:
    """A video's place in the endless sequence -> its samples: a row and augmented frames each."""

    rows: RandomAccessDataSource[AnyRow]
    order: _Order
    decoder: Decoder
    augment: Augment
    seed: int
    replacements: int
    samples: int

    def __call__(self, place: int) -> list[tuple[AnyRow, np.ndarray]]:
        rng = np.random.default_rng([self.seed, 1, int(place)])
        row = self.rows[self.order(place)]
        for _ in range(self.replacements):
            try:
                return self._clips(row, rng)
            except UserError as error:
                print(f"\n{error}; another clip takes its place", file=sys.stderr)
                row = self.rows[int(rng.integers(len(self.rows)))]
        return self._clips(row, rng)

    def _clips(self, row: AnyRow, rng: np.random.Generator) -> list[tuple[AnyRow, np.ndarray]]:
        frames = self.decoder(row.path, rng)
        return [pairs.augmented(row, self.augment, frames, rng) for _ in range(self.samples)]


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk
