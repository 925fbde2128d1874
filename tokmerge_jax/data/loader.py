"""Prepared data sets as batches: the gallery of an evaluation, the endless rows of a training.

Every batch is a function of its place in the sequence (and, in training, of the seed), so both can
go on at any row or step with the very batches that an uninterrupted run would have had.
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
from tokmerge_jax.data.video.clips import Decoder, decoder, in_order
from tokmerge_jax.data.video.faults import Fault, attempt
from tokmerge_jax.signatures import Augment, Collate, Transform
from tokmerge_jax.types import Actions, Batch, Choices, Gallery, Questions, UserError

G = TypeVar("G", Gallery, Choices, Questions, Actions)
T = TypeVar("T")
AnyRow = galleries.AnyRow

_Samples = list[tuple[AnyRow, np.ndarray]]

_ENDLESS = 2**40  # rows
_REPLACEMENTS = 9  # of one row; so many broken videos one after the other are no accident

Refuse = Callable[[int, str], None]
"""`(row, why its video cannot be decoded)`."""


def stop(row: int, fault: str) -> NoReturn:
    """Refuses a video by a UserError."""
    del row
    raise UserError(fault)


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

    def batches(
        self,
        transform: Transform,
        batch_size: int,
        rows: Sequence[int] | None = None,
        refuse: Refuse = stop,
    ) -> Iterator[Batch]:
        """Videos of the gallery in batches, less those that cannot be decoded.

        Args:
          transform: uint8 frames [T,H,W,3] -> [T,S,S,3] (or as many of each crop); picklable.
          batch_size: B.
          rows: places in the gallery, in the order of the batches; None = all.
          refuse: is given the row of each video that cannot be decoded, and why in a sentence that
            names it.

        Yields:
          `video` uint8 [B,T,S,S,3], `index` int32 [B], `mask` bool [B]. What pads the last batch is
          all zero, its index -1.

        Raises:
          UserError: what `refuse` raises, by default naming the video.
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
        """Rows, and their clips uint8 [T,S,S,3]; arguments as of `batches`."""
        make = _GalleryClip(self.decoder, transform)
        ahead = 1 if isinstance(self.gallery, Actions) else 4  # many views: 72 MB a video, say
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
            what = "samples" if isinstance(self.rows[0], galleries.ActionRow) else "pairs"
            raise UserError(
                f"config.train.batch_size={batch_size} is more than the {len(self)} training {what}"
            )
        videos_of_batch = batch_size // self.samples
        order = _Order(len(self.rows), videos_of_batch, seed)
        replacements = _REPLACEMENTS if self.replace else 0
        make = _TrainingClips(
            self.rows, order, self.decoder, augment, seed, replacements, self.samples
        )
        for chunk in _chunks(self._clips(make, step * videos_of_batch), videos_of_batch):
            by_sample = zip(*chunk, strict=True)
            rows, videos = zip(*itertools.chain.from_iterable(by_sample), strict=True)
            yield {"video": np.stack(videos), **collate(rows)}

    def _clips(self, make: "_TrainingClips", start: int) -> Iterator[_Samples]:
        """What stands at each place from `start` on."""
        places = range(start, _ENDLESS)
        for place, clips in zip(
            places, in_order(make, places, self.workers, make.name), strict=True
        ):
            if isinstance(clips, Fault) and self.replace:  # it ended the process that decoded it
                other = dataclasses.replace(make, first=1)
                (clips,) = in_order(other, [place], min(self.workers, 1), make.name)
            if isinstance(clips, Fault):
                raise UserError(
                    f"{clips.text}; the same command goes on from here, or with"
                    " --config.data.on_broken=skip, by which other videos take the place of such"
                )
            yield clips


def open_retrieval(config: Data, frames: int) -> Source[Gallery]:
    """The gallery of a prepared data set.

    Args:
      config: the `data` part of a configuration.
      frames: T, how many frames of a video are looked at.

    Raises:
      UserError: if the data set is of another kind, if it or the split is not prepared, or holds
        unusable videos while `on_broken` is "stop".
    """
    records, broken = _records(config, config.split, "captions")
    gallery, paths = galleries.gallery(records)
    return Source(gallery, broken, paths, decoder(config, frames, config.folder), config.workers)


def open_choices(config: Data, frames: int) -> Source[Choices]:
    """A prepared data set of multiple choice; arguments and errors as in `open_retrieval`."""
    records, broken = _records(config, config.split, "choices")
    choices, paths = galleries.choices(records)
    return Source(choices, broken, paths, decoder(config, frames, config.folder), config.workers)


def open_questions(config: QuestionData, frames: int) -> Source[Questions]:
    """A prepared data set of questions; arguments and errors as in `open_retrieval`.

    Raises:
      UserError: also if there is no list of answers to choose from.
    """
    records, broken = _records(config, config.split, "questions")
    questions, paths = galleries.questions(records, prepared.answers(config))
    return Source(questions, broken, paths, decoder(config, frames, config.folder), config.workers)


def open_actions(config: ActionData, frames: int) -> Source[Actions]:
    """A prepared data set of actions; arguments and errors as in `open_retrieval`.

    Raises:
      UserError: also if `config.labels` names no table of its actions' names.
    """
    records, broken = _records(config, config.split, "actions")
    actions, paths = galleries.actions(records, prepared.labels(config))
    return Source(actions, broken, paths, decoder(config, frames, config.folder), config.workers)


def open_training(
    config: Data, frames: int, split: str = "train", questions: int = 1, samples: int = 1
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
    raise UserError(f"config.data.dataset={config.dataset!r} has {spec.kind}; only evaluate it")


def _records(
    config: Data, split: str, kind: str
) -> tuple[list[Any], tuple[str, ...]]:  # records of the kind that is named
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
    """A video's path -> its transformed frames."""

    decoder: Decoder
    transform: Transform

    def __call__(self, path: str) -> np.ndarray:
        return self.transform(self.decoder(path))


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
    first: int = 0  # 1: its own row is not tried

    def name(self, place: int) -> str:
        """What the video is called that stands at this place."""
        return self._name(self.rows[self.order(place)])

    def __call__(self, place: int) -> _Samples:
        rng = np.random.default_rng([self.seed, 1, int(place)])
        row = self.rows[self.order(place)]
        make = functools.partial(self._clips, rng=rng)
        for tried in range(self.replacements):
            if tried >= self.first:
                clips = attempt(make, self._name, row)
                if not isinstance(clips, Fault):
                    return clips
                print(f"\n{clips.text}; another clip takes its place", file=sys.stderr)
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
