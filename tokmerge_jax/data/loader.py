"""Opens prepared data sets, and reads the batches of an evaluation's gallery.

Every batch is a function of its position, so an evaluation can resume at any row.
"""

import dataclasses
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, NoReturn, TypeVar

import numpy as np

from tokmerge_jax.config.common import Data, QuestionData
from tokmerge_jax.data.datasets import galleries, prepared
from tokmerge_jax.data.datasets.video_text import KINDS
from tokmerge_jax.data.training_source import TrainingSource
from tokmerge_jax.data.video.clips import ClipReader, Decoder, decoder
from tokmerge_jax.data.video.workers import Fault, in_order
from tokmerge_jax.signatures import Transform
from tokmerge_jax.types import Actions, Batch, Choices, Gallery, Questions, UserError

G = TypeVar("G", Gallery, Choices, Questions, Actions)
AnyRow = galleries.AnyRow

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
        while chunk := list(itertools.islice(clips, batch_size)):
            index = np.full(batch_size, -1, np.int32)
            index[: len(chunk)] = [row for row, _ in chunk]
            video = np.zeros((batch_size, *chunk[0][1].shape), np.uint8)
            np.stack([clip for _, clip in chunk], out=video[: len(chunk)])
            yield {"video": video, "index": index, "mask": index >= 0}

    def clips(
        self, transform: Transform, rows: Sequence[int], refuse: Refuse
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (row, clip uint8 [T,S,S,3]); arguments as in `batches`."""
        make = ClipReader(self.decoder, transform)
        ahead = 1 if isinstance(self.gallery, Actions) else 4  # many views: up to 72 MB per video
        paths = [self.paths[row] for row in rows]
        clips = in_order(make, paths, self.workers, self.decoder.name, ahead)
        for row, clip in zip(rows, clips, strict=True):
            if isinstance(clip, Fault):
                refuse(row, clip.text)
            else:
                yield row, clip


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


def open_actions(config: Data, frames: int) -> Source[Actions]:
    """Opens a prepared data set of actions; arguments and errors as in `open_retrieval`.

    Raises:
      UserError: also if `config.labels` is not a table of the action names.
    """
    records, broken = _records(config, config.split, "actions")
    actions, paths = galleries.actions(records, prepared.labels(config))
    return Source(actions, broken, paths, decoder(config, frames, config.folder), config.workers)


def open_training(
    config: Data,
    frames: int,
    split: str = "train",
    questions: int = 1,
    samples: int = 1,
    together: int = 1,
) -> TrainingSource:
    """Opens the training rows of a prepared data set; errors as in `open_retrieval`.

    Args:
      config: the `data` part of a configuration.
      frames: T, number of frames read per video. Videos of actions whose list states fewer frames
        are left out.
      split: the split's name.
      questions: number of questions per row (about one video), in a data set of questions.
      samples: see `TrainingSource`.
      together: see `TrainingSource`.
    """
    rows, decode = _rows(config, split, questions, frames), decoder(config, frames, config.folder)
    replace = config.on_broken == "skip"
    return TrainingSource(rows, decode, config.workers, replace, samples, together)


def _rows(config: Data, split: str, questions: int, frames: int) -> galleries.RowSource[AnyRow]:
    spec = prepared.spec(config.dataset)
    if spec.on_demand:
        return galleries.StoredRows(prepared.stored(config, split))
    kind = prepared.kind(config)
    records, _ = _records(config, split, kind)
    if kind == "questions":
        return galleries.answer_rows(records, questions)
    if kind == "actions":
        rows = galleries.action_rows(records, frames, spec.mirror)
        if short := len(records) - len(rows):
            videos = f"{short} of {len(records)} videos of {config.dataset}, split {split}"
            print(f"{videos}, are listed with less than {frames} frames: left out", file=sys.stderr)
        return rows
    if kind == "captions":
        return galleries.rows(records, spec.match_by_caption)
    raise UserError(
        f"config.data.dataset={config.dataset!r} holds {kind}, which can only be evaluated"
    )


def _records(
    config: Data, split: str, kind: str
) -> tuple[list[Any], tuple[str, ...]]:  # records of type KINDS[kind]
    """Returns (records of a split, checked to be of `kind`, names of the videos left out)."""
    held = prepared.kind(config)
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
