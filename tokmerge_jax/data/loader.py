"""Batches of prepared data sets: the gallery of an evaluation, the endless rows of training.

Every batch is a function of its position (and, in training, of the seed), so both can resume at any
row or step with exactly the batches of an uninterrupted run.
"""

import dataclasses
import functools
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, NoReturn, TypeVar

import numpy as np
from grain.sources import RandomAccessDataSource

from tokmerge_jax.config.common import ActionData, Data, QuestionData
from tokmerge_jax.data.datasets import galleries, prepared
from tokmerge_jax.data.datasets.video_text import KINDS
from tokmerge_jax.data.video.clips import Decoder, decoder
from tokmerge_jax.data.video.workers import Fault, attempt, in_order
from tokmerge_jax.signatures import Augment, Collate, Transform
from tokmerge_jax.types import Actions, Batch, Choices, Gallery, Questions, UserError

G = TypeVar("G", Gallery, Choices, Questions, Actions)
T = TypeVar("T")
AnyRow = galleries.AnyRow

_Samples = list[tuple[AnyRow, np.ndarray]]

_ENDLESS = 2**40  # rows
_REPLACEMENTS = 9  # tries for one row; more broken videos in a row are no accident

Refuse = Callable[[int, str], None]
"""Callback `(row, reason)` for a video that cannot be decoded."""


def stop(row: int, fault: str) -> NoReturn:
    """Raises the fault of a video as a UserError."""
    del row
    raise UserError(fault)


@dataclasses.dataclass(frozen=True)
class Source(Generic[G]):
    """The ground truth of an evaluation and its videos.

    Attributes:
      gallery: names of videos, their texts or actions, and which of them match.
      broken: names of videos that were left out.
      paths: the files of the gallery's videos.
      decoder: reads the frames of a path.
      workers: number of processes that decode.
    """

    gallery: G
    broken: tuple[str, ...]
    paths: tuple[str, ...]
    decoder: Decoder
    workers: int

    def batches(
        self,
        transform: Transform,
        batch_size: int,
        rows: Sequence[int] | None = None,
        refuse: Refuse = stop,
    ) -> Iterator[Batch]:
        """Yields batches of the gallery's videos, without those that cannot be decoded.

        Args:
          transform: uint8 frames [T,H,W,3] -> [T,S,S,3] ([K * T,S,S,3] for K crops); picklable.
          batch_size: B.
          rows: positions in the gallery, in the order of the batches; None = all.
          refuse: called with the row of each video that cannot be decoded and a sentence that names
            the video and the reason.

        Yields:
          `video` uint8 [B,T,S,S,3], `index` int32 [B], `mask` bool [B]. Padding of the last batch
          is zero, with index -1.

        Raises:
          UserError: whatever `refuse` raises; by default it names the video.
        """
        places = range(len(self.paths)) if rows is None else rows
        clips = self.clips(transform, [int(row) for row in places], refuse)
        for chunk in _chunks(clips, batch_size):
            index = np.full(batch_size, -1, np.int32)
            index[: len(chunk)] = [row for row, _ in chunk]
            video = np.zeros((batch_size, *chunk[0][1].shape), np.uint8)
            np.stack([clip for _, clip in chunk], out=video[: len(chunk)])
            yield {"video": video, "index": index, "mask": index >= 0}

    def clips(
        self, transform: Transform, rows: Sequence[int], refuse: Refuse
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (row, clip uint8 [T,S,S,3]); arguments as in `batches`."""
        make = _GalleryClip(self.decoder, transform)
        ahead = 1 if isinstance(self.gallery, Actions) else 4  # many views: up to 72 MB per video
        paths = [self.paths[row] for row in rows]
        clips = in_order(make, paths, self.workers, self.decoder.name, ahead)
        for row, clip in zip(rows, clips, strict=True):
            if isinstance(clip, Fault):
                refuse(row, clip.text)
            else:
                yield row, clip


@dataclasses.dataclass(frozen=True)
class TrainingSource:
    """Videos with captions, with questions and answers, or with actions.

    Attributes:
      rows: a video's path with its texts or label; picklable.
      decoder: reads the frames of a path.
      workers: number of processes that decode.
      replace: whether a random other row replaces one whose video cannot be decoded.
      samples: number of samples per decoded video: the same frames, augmented independently.
    """

    rows: RandomAccessDataSource[AnyRow]
    decoder: Decoder
    workers: int
    replace: bool = False
    samples: int = 1

    def __len__(self) -> int:
        """Largest number of samples in an epoch."""
        return len(self.rows) * self.samples

    def batches(
        self,
        augment: Augment,
        collate: Collate,
        batch_size: int,
        seed: int,
        step: int = 0,
        own: Sequence[int] | None = None,
    ) -> Iterator[Batch]:
        """Yields batches from `step` on, endlessly; each epoch is a new permutation of the rows.

        Rows that do not fill an epoch's last batch are dropped in that epoch. A batch holds one
        sample of each of its videos, then a second sample of each, and so on. So taking every n-th
        row gives whole groups (videos with all their samples) if n divides the number of videos.

        Args:
          augment: (uint8 frames [T,H,W,3], generator) -> [T,S,S,3], for action recognition with
            whether the clip was mirrored; picklable.
          collate: rows -> named arrays of their texts or labels.
          batch_size: B, number of samples.
          seed: decides permutations, frames and augmentation.
          step: the number of the first batch.
          own: rows of each batch that this process needs; only their videos are decoded. None =
            all.

        Yields:
          `video` uint8 [B,T,S,S,3] (of `own` rows), and the arrays that `collate` returns.

        Raises:
          UserError: if a batch is larger than the data set or splits a video's samples, or if a
            video cannot be decoded and is not replaced; the message names it.
        """
        if self.samples < 1 or batch_size % self.samples:
            raise UserError(
                f"config.train.batch_size={batch_size} must be a multiple of"
                f" config.train.samples={self.samples}, which must be at least 1"
            )
        if batch_size > len(self):
            what = "samples" if isinstance(self.rows[0], galleries.ActionRow) else "pairs"
            raise UserError(
                f"config.train.batch_size={batch_size} is more than the {len(self)} training {what}"
            )
        videos_of_batch = batch_size // self.samples
        own = range(batch_size) if own is None else own
        videos = sorted({row % videos_of_batch for row in own})
        order = _Order(len(self.rows), videos_of_batch, seed, videos)
        replacements = _REPLACEMENTS if self.replace else 0
        make = _TrainingClips(
            self.rows, order, self.decoder, augment, seed, replacements, self.samples
        )
        for chunk in _chunks(self._clips(make, step * len(videos)), len(videos)):
            samples = dict(zip(videos, chunk, strict=True))
            picked = [samples[row % videos_of_batch][row // videos_of_batch] for row in own]
            rows, clips = zip(*picked, strict=True)
            yield {"video": np.stack(clips), **collate(rows)}

    def _clips(self, make: "_TrainingClips", start: int) -> Iterator[_Samples]:
        """Yields the samples at each position from `start` on."""
        places = range(start, _ENDLESS)
        for place, clips in zip(
            places, in_order(make, places, self.workers, make.name), strict=True
        ):
            if isinstance(clips, Fault) and self.replace:  # it ended the process that decoded it
                other = dataclasses.replace(make, first=1)
                (clips,) = in_order(other, [place], min(self.workers, 1), make.name)
            if isinstance(clips, Fault):
                raise UserError(
                    f"{clips.text}; run the same command again to continue from here, or add"
                    " config.data.on_broken=skip to replace broken videos by others"
                )
            yield clips


def open_retrieval(config: Data, frames: int) -> Source[Gallery]:
    """Opens a prepared data set of captions for retrieval.

    Args:
      config: the `data` part of a configuration.
      frames: T, number of frames read per video.

    Raises:
      UserError: if the data set is of another kind, if it or the split is not prepared, or if it
        holds unusable videos while `on_broken` is "stop".
    """
    records, broken = _records(config, config.split, "captions")
    gallery, paths = galleries.gallery(records)
    return Source(gallery, broken, paths, decoder(config, frames, config.folder), config.workers)


def open_choices(config: Data, frames: int) -> Source[Choices]:
    """Opens a prepared multiple-choice data set; arguments and errors as in `open_retrieval`."""
    records, broken = _records(config, config.split, "choices")
    choices, paths = galleries.choices(records)
    return Source(choices, broken, paths, decoder(config, frames, config.folder), config.workers)


def open_questions(config: QuestionData, frames: int) -> Source[Questions]:
    """Opens a prepared data set of questions; arguments and errors as in `open_retrieval`.

    Raises:
      UserError: also if there is no list of answers to choose from.
    """
    records, broken = _records(config, config.split, "questions")
    questions, paths = galleries.questions(records, prepared.answers(config))
    return Source(questions, broken, paths, decoder(config, frames, config.folder), config.workers)


def open_actions(config: ActionData, frames: int) -> Source[Actions]:
    """Opens a prepared data set of actions; arguments and errors as in `open_retrieval`.

    Raises:
      UserError: also if `config.labels` is not a table of the action names.
    """
    records, broken = _records(config, config.split, "actions")
    actions, paths = galleries.actions(records, prepared.labels(config))
    return Source(actions, broken, paths, decoder(config, frames, config.folder), config.workers)


def open_training(
    config: Data, frames: int, split: str = "train", questions: int = 1, samples: int = 1
) -> TrainingSource:
    """Opens the training rows of a prepared data set; errors as in `open_retrieval`.

    Args:
      config: the `data` part of a configuration.
      frames: T, number of frames read per video. Videos of actions whose list states fewer frames
        are left out.
      split: the split's name.
      questions: number of questions per row (about one video), in a data set of questions.
      samples: see `TrainingSource`.
    """
    rows, decode = _rows(config, split, questions, frames), decoder(config, frames, config.folder)
    return TrainingSource(rows, decode, config.workers, config.on_broken == "skip", samples)


def _rows(config: Data, split: str, questions: int, frames: int) -> RandomAccessDataSource[AnyRow]:
    spec = prepared.spec(config.dataset)
    if spec.on_demand:
        return galleries.StoredRows(prepared.stored(config, split))
    records, _ = _records(config, split, spec.kind)
    if spec.kind == "questions":
        return galleries.answer_rows(records, questions)
    if spec.kind == "actions":
        rows = galleries.action_rows(records, frames, spec.mirror)
        if short := len(records) - len(rows):
            videos = f"{short} of {len(records)} videos of {config.dataset}, split {split}"
            print(f"{videos}, are listed with less than {frames} frames: left out", file=sys.stderr)
        return rows
    if spec.kind == "captions":
        return galleries.rows(records, spec.match_by_caption)
    raise UserError(
        f"config.data.dataset={config.dataset!r} holds {spec.kind}, which can only be evaluated"
    )


def _records(
    config: Data, split: str, kind: str
) -> tuple[list[Any], tuple[str, ...]]:  # records of type KINDS[kind]
    """Returns (records of a split, checked to be of `kind`, names of the videos left out)."""
    held = prepared.spec(config.dataset).kind
    if held != kind:
        raise UserError(
            f"config.data.dataset={config.dataset!r} holds {held}, but {kind} are needed; use"
            " the configuration of that data set"
        )
    records, broken = prepared.records(config, split)
    if not all(isinstance(record, KINDS[kind]) for record in records):
        raise UserError(
            f"data set {config.dataset} in {config.folder!r} is damaged; prepare it again"
        )
    return records, broken


@dataclasses.dataclass(frozen=True)
class _GalleryClip:
    """Decodes and transforms the video at a path."""

    decoder: Decoder
    transform: Transform

    def __call__(self, path: str) -> np.ndarray:
        return self.transform(self.decoder(path))


@dataclasses.dataclass(frozen=True)
class _Order:
    """Maps a place in the endless training sequence to a row number.

    Attributes:
      rows: number of rows.
      batch_size: number of videos of a batch.
      seed: decides the permutations.
      own: positions in every batch that this process decodes.
    """

    rows: int
    batch_size: int
    seed: int
    own: Sequence[int]

    def place(self, index: int) -> int:
        """The place of the `index`-th video that this process decodes."""
        batch, position = divmod(int(index), len(self.own))
        return batch * self.batch_size + self.own[position]

    def __call__(self, place: int) -> int:
        per_epoch = self.rows // self.batch_size * self.batch_size
        epoch, offset = divmod(int(place), per_epoch)
        return int(_permutation(self.rows, self.seed, epoch)[offset])


@functools.lru_cache(maxsize=2)
def _permutation(rows: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, 0, epoch]).permutation(rows)


@dataclasses.dataclass(frozen=True)
class _TrainingClips:
    """Decodes and augments this process's n-th training video to (row, frames) of each sample."""

    rows: RandomAccessDataSource[AnyRow]
    order: _Order
    decoder: Decoder
    augment: Augment
    seed: int
    replacements: int
    samples: int
    first: int = 0  # 1 = start with a replacement, without trying the row itself

    def name(self, index: int) -> str:
        """The name of this process's n-th video, for messages."""
        return self._name(self.rows[self.order(self.order.place(index))])

    def __call__(self, index: int) -> _Samples:
        place = self.order.place(index)
        rng = np.random.default_rng([self.seed, 1, place])
        row = self.rows[self.order(place)]
        make = functools.partial(self._clips, rng=rng)
        for tried in range(self.replacements):
            if tried >= self.first:
                clips = attempt(make, self._name, row)
                if not isinstance(clips, Fault):
                    return clips
                print(f"\n{clips.text}; another clip replaces it", file=sys.stderr)
            row = self.rows[int(rng.integers(len(self.rows)))]
        return make(row)

    def _name(self, row: AnyRow) -> str:
        return self.decoder.name(row.path)

    def _clips(self, row: AnyRow, rng: np.random.Generator) -> _Samples:
        frames = self.decoder(row.path, rng)
        return [galleries.augmented(row, self.augment, frames, rng) for _ in range(self.samples)]


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk
