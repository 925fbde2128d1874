"""Turns records into the galleries of evaluation and the rows of training."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np

from tokmerge_jax.data.datasets.video_text import (
    Action,
    AnyRecord,
    Choice,
    Clip,
    Question,
    Record,
    Stored,
)
from tokmerge_jax.signatures import Augment
from tokmerge_jax.types import Actions, Choices, Gallery, Questions, UserError

R = TypeVar("R", bound=AnyRecord)
Held = TypeVar("Held", covariant=True)


@runtime_checkable
class RowSource(Protocol[Held]):
    """Rows by number: a list, or rows that are read when they are asked for."""

    def __len__(self) -> int:
        """The number of rows."""
        ...

    def __getitem__(self, index: int, /) -> Held:
        """The row of a number from 0."""
        ...


@dataclasses.dataclass(frozen=True)
class Row:
    """One training pair; rows with equal `match_id` match each other."""

    path: str
    caption: str
    match_id: int


@dataclasses.dataclass(frozen=True)
class AnswerRow:
    """Training questions about one video, with their distinct answers and the weight of each.

    All rows have the same number of questions, and all questions the same number of answers;
    padding is "" with weight 0. A weight is the share of people who gave the answer.
    """

    path: str
    questions: tuple[str, ...]
    answers: tuple[tuple[str, ...], ...]
    weights: tuple[tuple[float, ...], ...]


@dataclasses.dataclass(frozen=True)
class ActionRow:
    """A training video, its action, and the action of its mirror image."""

    path: str
    label: int
    mirrored: int


AnyRow = Row | AnswerRow | ActionRow


@dataclasses.dataclass(frozen=True)
class StoredRows:
    """Training rows of the usable stored records, each read on demand.

    A record is one video with one caption; a row matches only itself.
    """

    records: Stored

    def __len__(self) -> int:
        return len(self.records.usable)

    def __getitem__(self, place: int) -> Row:
        number = int(self.records.usable[place])
        record = self.records[number]
        assert isinstance(record, Record)
        (clip,), (caption,) = record.clips, record.captions
        return Row(clip.path, caption, number)


def paragraphs(records: Sequence[Record]) -> list[Record]:
    """Joins the captions of each record into one, by single spaces."""
    return [dataclasses.replace(r, captions=(" ".join(r.captions),)) for r in records]


def without_broken(records: Sequence[R]) -> tuple[list[R], tuple[Clip, ...]]:
    """Returns (records without unusable videos, unusable videos); empty records are dropped."""
    broken = {clip.name: clip for r in records for clip in r.clips if clip.fault}
    usable = [
        dataclasses.replace(r, clips=tuple(clip for clip in r.clips if not clip.fault))
        for r in records
    ]
    return [record for record in usable if record.clips], tuple(broken.values())


def gallery(records: Sequence[Record]) -> tuple[Gallery, tuple[str, ...]]:
    """Returns (the gallery of distinct videos and all texts, in order; the videos' paths).

    Each caption is a separate text; the videos of its record are its matches.
    """
    paths = {clip.name: clip.path for record in records for clip in record.clips}
    place = {name: i for i, name in enumerate(paths)}
    texts = [
        (text, tuple(place[clip.name] for clip in record.clips))
        for record in records
        for text in record.captions
    ]
    captions, relevant = zip(*texts, strict=True) if texts else ((), ())
    return Gallery(tuple(paths), captions, relevant), tuple(paths.values())


def rows(records: Sequence[Record], match_by_caption: bool) -> list[Row]:
    """Returns every pair of video and caption; pairs with equal captions, or videos, match."""
    match_ids: dict[str, int] = {}
    pairs = [(c, text) for record in records for c in record.clips for text in record.captions]
    return [
        Row(
            c.path, text, match_ids.setdefault(text if match_by_caption else c.name, len(match_ids))
        )
        for c, text in pairs
    ]


def choices(records: Sequence[Choice]) -> tuple[Choices, tuple[str, ...]]:
    """Returns (one video with its options per record, the videos' paths).

    Raises:
      UserError: if the numbers of options differ.
    """
    if len({len(record.options) for record in records}) > 1:
        raise UserError(
            "all videos of a multiple-choice data set must have the same number of options"
        )
    names, paths = zip(*((r.clips[0].name, r.clips[0].path) for r in records), strict=True)
    options = tuple(record.options for record in records)
    return Choices(names, options, tuple(record.answer for record in records)), paths


def questions(
    records: Sequence[Question], answers: tuple[str, ...]
) -> tuple[Questions, tuple[str, ...]]:
    """Returns (questions, grouped by video, with the answer list; the videos' paths)."""
    paths = {record.clips[0].name: record.clips[0].path for record in records}
    place = {name: i for i, name in enumerate(paths)}
    ordered = sorted(records, key=lambda record: place[record.clips[0].name])
    asked = Questions(
        videos=tuple(paths),
        ids=tuple(record.id for record in ordered),
        texts=tuple(record.question for record in ordered),
        about=tuple(place[record.clips[0].name] for record in ordered),
        truths=tuple(record.answers for record in ordered),
        answers=answers,
    )
    return asked, tuple(paths.values())


def actions(records: Sequence[Action], names: tuple[str, ...]) -> tuple[Actions, tuple[str, ...]]:
    """Returns (one video with its action per record, the videos' paths)."""
    videos, paths = zip(*((r.clips[0].name, r.clips[0].path) for r in records), strict=True)
    return Actions(videos, tuple(record.label for record in records), names), paths


def action_rows(
    records: Sequence[Action], fewest: int = 0, mirror: Mapping[int, int] = MappingProxyType({})
) -> list[ActionRow]:
    """Returns training rows, without videos whose list states fewer than `fewest` frames.

    `mirror` maps an action to the action of its mirror image, where that is another one.
    """
    return [
        ActionRow(record.clips[0].path, record.label, mirror.get(record.label, record.label))
        for record in records
        if not 0 < record.frames < fewest
    ]


def augmented(
    row: AnyRow,
    augment: Augment,
    frames: np.ndarray,
    rng: np.random.Generator,
) -> tuple[AnyRow, np.ndarray]:
    """Augments frames and returns them with their row, whose action follows a mirroring.

    For action recognition, `augment` also returns whether it mirrored the frames.
    """
    augmented = augment(frames, rng)
    if isinstance(augmented, np.ndarray):
        return row, augmented
    frames, mirrored = augmented
    if mirrored and isinstance(row, ActionRow):
        return ActionRow(row.path, row.mirrored, row.label), frames
    return row, frames


def answer_rows(records: Sequence[Question], together: int = 1) -> list[AnswerRow]:
    """Returns rows of `together` questions about a video, in the order of first questions.

    A question's answers are the distinct ones in order of appearance, each weighted by the share of
    people who gave it.
    """
    by_path: dict[str, list[Question]] = {}
    for record in records:
        by_path.setdefault(record.clips[0].path, []).append(record)
    most = max(len(set(record.answers)) for record in records)
    return [
        _answer_row(path, asked[begin : begin + together], together, most)
        for path, asked in by_path.items()
        for begin in range(0, len(asked), together)
    ]


def _answer_row(path: str, asked: Sequence[Question], together: int, most: int) -> AnswerRow:
    counts = [Counter(record.answers) for record in asked]
    counts += [Counter()] * (together - len(asked))
    return AnswerRow(
        path,
        tuple(record.question for record in asked) + ("",) * (together - len(asked)),
        tuple((*count, *("",) * (most - len(count))) for count in counts),
        tuple(
            (*(n / count.total() for n in count.values()), *(0.0,) * (most - len(count)))
            for count in counts
        ),
    )
