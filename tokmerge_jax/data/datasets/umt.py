"""Reads UMT's annotation files, which are JSON lists of records.

Captions: {"video": path or list of paths, "caption": text or list of texts} (Something-Something
has several videos per caption). Multiple choice: {"video", "caption": [options], "answer": index of
the right one}. Questions: {"video", "question", "answer": text or list of texts, "question_id"}.
"""

import pathlib
from collections.abc import Callable, Mapping

from tokmerge_jax.data.datasets import files
from tokmerge_jax.data.datasets.locating import Videos
from tokmerge_jax.data.datasets.video_text import AnyRecord, Choice, Clip, Question, Record
from tokmerge_jax.types import Json, UserError


def read(path: pathlib.Path, videos: pathlib.Path, kind: str = "captions") -> tuple[AnyRecord, ...]:
    """Reads the records of an annotation file, in order; `locating.Videos` finds their videos.

    Args:
      path: the annotation file.
      videos: the folder of the videos.
      kind: the kind of the records, a key of `video_text.KINDS`.

    Raises:
      UserError: if a field is missing or of another type; the message names file, record and field.
    """
    there = Videos(videos)
    records: list[AnyRecord] = []
    for where, row in _records(path):
        fields = files.typed(row, dict, where)
        clips = tuple(there.clip(name) for name in _texts(fields, "video", where))
        records.append(_PARSERS[kind](fields, clips, where))
    return tuple(records)


def read_answers(path: pathlib.Path) -> tuple[str, ...]:
    """Reads the answers to choose from, a JSON list of texts.

    Raises:
      UserError: if the file is missing or holds something else.
    """
    return tuple(files.typed(answer, str, where) for where, answer in _records(path))


def _records(path: pathlib.Path) -> list[tuple[str, Json]]:
    records = list(files.records(path))
    if not records:
        raise UserError(f"{path}: must hold a non-empty list")
    return records


def _choice(row: dict[str, Json], clips: tuple[Clip, ...], where: str) -> Choice:
    options, answer = _texts(row, "caption", where), row.get("answer")
    if type(answer) is not int or not 0 <= answer < len(options):
        raise UserError(f"{where}: field 'answer' must be the place of one of the captions")
    return Choice(clips, options, answer)


def _question(row: dict[str, Json], clips: tuple[Clip, ...], where: str) -> Question:
    (question, *more) = _texts(row, "question", where)
    if more:
        raise UserError(f"{where}: field 'question' must be one text")
    identity = row.get("question_id", where)  # needed only in evaluation
    if not isinstance(identity, int):
        identity = files.typed(identity, str, f"{where}, field 'question_id'")
    return Question(clips, str(identity), question, _texts(row, "answer", where))


_PARSERS: Mapping[str, Callable[[dict[str, Json], tuple[Clip, ...], str], AnyRecord]] = {
    "captions": lambda row, clips, where: Record(clips, _texts(row, "caption", where)),
    "choices": _choice,
    "questions": _question,
}


def _texts(row: dict[str, Json], name: str, where: str) -> tuple[str, ...]:
    """Returns a field that is a text or a non-empty list of texts as a tuple."""
    if not isinstance(row.get(name), list):
        return (files.field(row, name, str, where),)
    texts = files.field_of_texts(row, name, where)
    if not texts:
        raise UserError(f"{where}: field {name!r} holds no text")
    return tuple(texts)
