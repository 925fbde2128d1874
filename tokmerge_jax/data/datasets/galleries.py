"""From records to what an evaluation matches or asks, and to the rows of a training."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

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


@dataclasses.dataclass(frozen=True)
class Row:
    """One training pair; rows of equal `match_id` are true pairs of one another."""

    path: str
    caption: str
    match_id: int


@dataclasses.dataclass(frozen=True)
class AnswerRow:
    """Training questions about one video: their different answers, and people's share of each.

    All rows have as many questions, and these as many answers; what only fills a row up is empty
    and of weight 0.
    """

    path: str
    questions: tuple[str, ...]
    answers: tuple[tuple[str, ...], ...]
    weights: tuple[tuple[float, ...], ...]


@dataclasses.dataclass(frozen=True)
class ActionRow:
    """A training video, its action, and the one that it shows in a mirror."""

    path: str
    label: int
    mirrored: int


AnyRow = Row | AnswerRow | ActionRow


@dataclasses.dataclass(frozen=True)
class StoredRows:
    """Rows of those of the stored records that can be used, each read when it is asked for.

    A record is one video and one caption; a row matches itself only.
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
    """The records with the captions of each joined into one by single spaces."""
    return [dataclasses.replace(r, captions=(" ".join(r.captions),)) for r in records]


def without_broken(records: Sequence[R]) -> tuple[list[R], tuple[Clip, ...]]:
    """The records less unusable videos and less records that have no other; and those videos."""
    broken = {clip.name: clip for r in records for clip in r.clips if clip.fault}
    usable = [
        dataclasses.replace(r, clips=tuple(clip for clip in r.clips if not clip.fault))
        for r in records
    ]
    return [record for record in usable if record.clips], tuple(broken.values())


def gallery(records: Sequence[Record]) -> tuple[Gallery, tuple[str, ...]]:
    """The distinct videos and all texts in order, and the videos' paths.

    Each caption is a text of its own; its true videos are those of all the record.
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
    """Every pair of a video and a caption; matches are told by equal captions or equal videos."""
    match_ids: dict[str, int] = {}
    pairs = [(c, text) for record in records for c in record.clips for text in record.captions]
    return [
        Row(
            c.path, text, match_ids.setdefault(text if match_by_caption else c.name, len(match_ids))
        )
        for c, text in pairs
    ]


def choices(records: Sequence[Choice]) -> tuple[Choices, tuple[str, ...]]:
    """Each record as a video of its own with its options, and the videos' paths.

    Raises:
      UserError: if not all have as many options.
    """
    if len({len(record.options) for record in records}) > 1:
        raise UserError("the videos of a multiple choice must all have as many options")
    names, paths = zip(*((r.clips[0].name, r.clips[0].path) for r in records), strict=True)
    options = tuple(record.options for record in records)
    return Choices(names, options, tuple(record.answer for record in records)), paths


def questions(
    records: Sequence[Question], answers: tuple[str, ...]
) -> tuple[Questions, tuple[str, ...]]:
    """The questions, those about one video together, with the answer list; the videos' paths."""
    paths = {record.clips[0].name: record.clips[0].path for record in records}
    place = {name: i for i, name in enumerate(paths)}
    ordered = sorted(records, key=lambda record: place[record.clips[0].name])
    found = Questions(
        videos=tuple(paths),
        ids=tuple(record.id for record in ordered),
        texts=tuple(record.question for record in ordered),
        about=tuple(place[record.clips[0].name] for record in ordered),
        truths=tuple(record.answers for record in ordered),
        answers=answers,
    )
    return found, tuple(paths.values())


def actions(records: Sequence[Action], names: tuple[str, ...]) -> tuple[Actions, tuple[str, ...]]:
    """Each record as a video of its own with its action, and the videos' paths."""
    videos, paths = zip(*((r.clips[0].name, r.clips[0].path) for r in records), strict=True)
    return Actions(videos, tuple(record.label for record in records), names), paths


def action_rows(
    records: Sequence[Action], fewest: int = 0, mirror: Mapping[int, int] = MappingProxyType({})
) -> list[ActionRow]:
    """Rows of the videos but those that their list says to have fewer frames than `fewest`.

    `mirror` holds the actions that are others in a mirror.
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
    """Augmented frames, and what is true of them: of mirrored ones, the row's mirror image.

    Augmenting those of an action also tells whether it mirrored them.
    """
    augmented = augment(frames, rng)
    if isinstance(augmented, np.ndarray):
        return row, augmented
    frames, mirrored = augmented
    if mirrored and isinstance(row, ActionRow):
        return ActionRow(row.path, row.mirrored, row.label), frames
    return row, frames


def answer_rows(records: Sequence[Question], together: int = 1) -> list[AnswerRow]:
    """Rows of `together` questions about a video, in the order of the videos' first questions.

    A question's answers are its different ones in order of appearance, weighted by how many people
    of those who answered gave them.
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
