"""Reads data sets of one's own: tables of videos with captions, with questions, or with labels.

A table is a CSV file, JSON lines or a Parquet file. Its columns are `video`; `caption` (or one of
`OTHER_NAMES`), or `question` and `answer`, or `label`; and `split` (train, val or test), if it
holds several. JSON and Parquet may hold lists of captions and answers. A folder holds the tables of
a Hugging Face data set: `metadata.csv` (or .jsonl, .parquet) beside the videos, which the column
`file_name` then names from that folder, or files such as `data/train-00000-of-00001.parquet`. A
Parquet table may hold the videos themselves (`packed`). A folder may also be that of a data set of
TFDS.
"""

import dataclasses
import pathlib
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from tokmerge_jax.data.datasets import files, packed, tables
from tokmerge_jax.data.datasets.locating import Videos
from tokmerge_jax.data.datasets.video_text import Action, AnyRecord, Question, Record
from tokmerge_jax.types import Json, UserError

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "captions": ("caption",),
    "questions": ("question", "answer"),
    "actions": ("label",),
}
"""Kind of the records (a key of `video_text.KINDS`) -> the columns that it needs beside `video`."""

OTHER_NAMES = ("description", "sentence", "summary")
"""Captions without a column `caption`: MTEB's VALOR-32K, YouCook2 and AVMeme-Exam call it so."""

SPLITS = {"train": "train", "val": "val", "test": "test"}
SPLITS |= dict.fromkeys(("valid", "validation", "dev"), "val")
"""A split's name in a table -> its name here."""
_SEVERAL = ("caption", "answer")  # columns of which JSON and Parquet may hold lists
_AGAIN = {"captions": "this caption", "questions": "this answer", "actions": "a label"}


@dataclasses.dataclass(frozen=True)
class _Row:
    """A row: its place, its video, its split, and the texts of each column that its kind needs."""

    where: str
    video: str
    split: str
    texts: tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True)
class Tables:
    """The rows of a data set's tables.

    Attributes:
      files: the tables.
      kind: the kind of the records, a key of `COLUMNS`.
      rows: split -> its rows, in the order of the files.
    """

    files: tuple[pathlib.Path, ...]
    kind: str
    rows: Mapping[str, Sequence[_Row]]

    def names(self, known: Sequence[str] = ()) -> tuple[str, ...]:
        """The distinct answers or labels of all splits, sorted after those that are `known`.

        Labels that are all whole numbers are the actions' numbers; so all numbers up to the largest
        are names.

        Raises:
          UserError: if a number is too large for one.
        """
        rows = [row for rows in self.rows.values() for row in rows]
        texts = {text for row in rows for text in row.texts[-1]}
        if self.kind == "actions" and all(name.isdecimal() for name in (*texts, *known)):
            largest = max(texts, key=lambda text: len(text.lstrip("0")))
            if len(largest.lstrip("0")) > 5:
                raise UserError(
                    f"{self.files[0]}: label {files.shown(largest)} is too large; labels that are"
                    " numbers count from 0"
                )
            return tuple(map(str, range(max(len(known), 1 + max(map(int, texts))))))
        return (*known, *sorted(texts - {*known}))

    def records(self, split: str, videos: Videos, names: Sequence[str]) -> list[AnyRecord]:
        """The records of a split: a video with all its captions, a question, or an action.

        Args:
          split: a key of `rows`.
          videos: finds the videos' files.
          names: as `names` gives them; a label's number is its place.
        """
        return list(_RECORDS[self.kind](self.rows[split], videos, names))


def holds_videos(source: pathlib.Path) -> bool:
    """Whether the tables of a data set hold the videos themselves, not their names.

    Raises:
      UserError: if the first table cannot be read or holds no row.
    """
    _, fields = tables.first(tables.find(source)[0])
    return packed.is_video(fields.get("video"))


def read(
    source: pathlib.Path, kind: str = "", split: str = "", videos: pathlib.Path = pathlib.Path()
) -> Tables:
    """Reads the tables of a data set, and writes the videos inside them to files.

    Args:
      source: a table, or a folder of tables.
      kind: the kind of the records, a key of `COLUMNS`; "" = as the columns say.
      split: that of rows for which neither the table nor its name says one; by default "test", for
        actions "val".
      videos: the folder that videos inside the tables are written to.

    Raises:
      UserError: if a table cannot be read, if a column is missing, a cell empty, a row there twice
        or a split unknown; the message names the file and the row. Also if a video cannot be
        written.
    """
    paths = tables.find(source)
    kind = kind or _kind(paths[0])
    rows: dict[str, list[_Row]] = {}
    default, unpacked = split or ("val" if kind == "actions" else "test"), packed.Files(videos)
    for path in paths:
        for row in _rows(path, source, kind, default, unpacked):
            rows.setdefault(row.split, []).append(row)
    _check_distinct(rows, kind)
    return Tables(paths, kind, rows)


def _kind(path: pathlib.Path) -> str:
    """The kind of the records of a table, by its columns."""
    columns = tables.columns(path)
    kinds = [kind for kind, needed in COLUMNS.items() if {*needed} <= {*columns}]
    if not kinds and _needed("captions", columns) != COLUMNS["captions"]:
        return "captions"
    if len(kinds) == 1:
        return kinds[0]
    needed = "caption, question and answer, or label"
    fault = f"has more than one of {needed}; choose by format" if kinds else f"has no {needed}"
    raise UserError(f"{path}: {fault} (its columns: {', '.join(columns)})")


def _needed(kind: str, columns: Collection[str]) -> tuple[str, ...]:
    """The columns of a table that a kind needs; captions may have another name."""
    others = [name for name in OTHER_NAMES if name in columns]
    if kind != "captions" or "caption" in columns or not others:
        return COLUMNS[kind]
    return (others[0],)


def _rows(
    path: pathlib.Path, source: pathlib.Path, kind: str, default: str, unpacked: packed.Files
) -> Iterator[_Row]:
    video, needed = "", COLUMNS[kind]
    below = path.relative_to(source) if path != source else pathlib.Path(path.name)
    default = _split_of(below) or default
    for number, (where, fields) in enumerate(tables.read(path)):
        if not number:  # the columns of a table are those of its first row
            video = "file_name" if "file_name" in fields and "video" not in fields else "video"
            needed = _needed(kind, fields)
        if packed.is_video(fields.get("video")):
            fields["video"] = unpacked.name(fields["video"], number, where)
        (name,), *texts = (_texts(fields, column, where) for column in (video, *needed))
        if video == "file_name":
            name = (below.parent / name).as_posix()
        split = fields.get("split", default)
        if not isinstance(split, str) or split.strip() not in SPLITS:
            raise UserError(f"{where}: split {files.shown(split)} must be train, val or test")
        yield _Row(where, name, SPLITS[split.strip()], tuple(texts))


def _split_of(path: pathlib.Path) -> str:
    """The split that a path names by a folder or a word, as in train/metadata.csv; "" if none."""
    words = re.split(r"[^a-z]+", path.with_suffix("").as_posix().lower())
    splits = {SPLITS[word] for word in words if word in SPLITS}
    return splits.pop() if len(splits) == 1 else ""


def _texts(fields: Mapping[str, Json], column: str, where: str) -> tuple[str, ...]:
    """The text of a cell, or its texts where there may be several; a whole number is a text."""
    if column not in fields:
        there = ", ".join(map(files.shown, fields))
        raise UserError(f"{where}: column {column!r} is missing; there are {there}")
    value = fields[column]
    place = f"{where}, column {column!r}"
    texts = value if isinstance(value, list) and column in _SEVERAL else [value]
    stripped = [
        str(text) if type(text) is int else files.typed(text or "", str, place).strip()
        for text in texts
    ]
    if not stripped or not all(stripped):
        raise UserError(f"{place}: is empty")
    return tuple(stripped)


def _check_distinct(rows: Mapping[str, Sequence[_Row]], kind: str) -> None:
    """Raises UserError for a row that is there twice; reports videos that are in two splits."""
    at: dict[tuple[str, str, object], str] = {}
    for row in (row for rows in rows.values() for row in rows):
        texts = {"captions": row.texts[0], "questions": (row.texts,), "actions": ("",)}[kind]
        for key in ((row.split, row.video, text) for text in texts):
            if key in at:
                video = files.shown(row.video)
                raise UserError(
                    f"{row.where}: video {video} has {_AGAIN[kind]} already, in {at[key]}; remove"
                    " one of the two"
                )
            at[key] = row.where
    splits: dict[str, set[str]] = {}
    for split, video, _ in at:
        splits.setdefault(video, set()).add(split)
    if shared := [video for video, held in splits.items() if len(held) > 1]:
        print(
            f"videos in more than one split: {len(shared)}, such as {files.shown(shared[0])}",
            file=sys.stderr,
        )


def _captions(rows: Sequence[_Row], videos: Videos, _: Sequence[str]) -> Iterator[Record]:
    captions: dict[str, list[str]] = {}
    for row in rows:
        captions.setdefault(row.video, []).extend(row.texts[0])
    for name, texts in captions.items():
        yield Record((videos.clip(name),), tuple(texts))


def _questions(rows: Sequence[_Row], videos: Videos, _: Sequence[str]) -> Iterator[Question]:
    answers: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        (question,), given = row.texts
        answers.setdefault((row.video, question), []).extend(given)
    for number, ((name, question), given) in enumerate(answers.items()):
        yield Question((videos.clip(name),), str(number), question, tuple(given))


def _actions(rows: Sequence[_Row], videos: Videos, names: Sequence[str]) -> Iterator[Action]:
    numbers = {name: number for number, name in enumerate(names)}
    for row in rows:
        label = row.texts[0][0]
        # A number may have zeros in front, and is then no name itself.
        number = int(label) if label not in numbers else numbers[label]
        yield Action((videos.clip(row.video),), number, 0)


_RECORDS: Mapping[str, Callable[[Sequence[_Row], Videos, Sequence[str]], Iterator[AnyRecord]]] = {
    "captions": _captions,
    "questions": _questions,
    "actions": _actions,
}
