"""Reading UMT's annotation files, JSON lists of records.

Captions: {"video": path or paths, "caption": text or texts}; several captions of a video and
several videos of a caption (Something-Something) are both lists. Multiple choice: {"video",
"caption": [options], "answer": place of the right one}. Questions: {"video", "question",
"answer": text or texts, "question_id"}.
"""

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from tokmerge_jax.data.datasets.video_text import AnyRecord, Choice, Clip, Question, Record
from tokmerge_jax.types import UserError


def read(path: pathlib.Path, videos: pathlib.Path, kind: str = "captions") -> tuple[AnyRecord, ...]:
    """The records of an annotation file, in order; video paths are taken to lie in `videos`.

    Args:
      path: the file.
      videos: the folder.
      kind: of the records, a key of `video_text.KINDS`.

    Raises:
      UserError: naming the file, and the record and field that is missing or of another type.
    """
    rows = _list(path)
    return tuple(_record(row, f"{path}, record {i}", videos, kind) for i, row in enumerate(rows))


def read_answers(path: pathlib.Path) -> tuple[str, ...]:
    """The answers to choose from: a JSON list of different texts.

    Raises:
      UserError: if the file is missing or holds something else.
    """
    answers = _list(path)
    if not all(isinstance(answer, str) for answer in answers):
        raise UserError(f"{path}: must hold a JSON list of texts")
    return tuple(answers)


def _list(path: pathlib.Path) -> list[Any]:
    try:
        rows = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{path}: must hold a JSON list that is not empty")
    return rows


def _record(row: Any, where: str, videos: pathlib.Path, kind: str) -> AnyRecord:
    if not isinstance(row, dict):
        raise UserError(f"{where}: must be an object with the field video and others")
    clips = tuple(Clip(name, str(videos / name)) for name in _texts(row, "video", where))
    return _PARSERS[kind](row, clips, where)


def _captions(row: dict[str, Any], clips: tuple[Clip, ...], where: str) -> Record:
    return Record(clips, _texts(row, "caption", where))


def _choice(row: dict[str, Any], clips: tuple[Clip, ...], where: str) -> Choice:
    options, answer = _texts(row, "caption", where), _field(row, "answer", where)
    if not isinstance(answer, int) or not 0 <= answer < len(options):
        raise UserError(f"{where}: field 'answer' must be the place of one of the captions")
    return Choice(clips, options, answer)


def _question(row: dict[str, Any], clips: tuple[Clip, ...], where: str) -> Question:
    (question, *more) = _texts(row, "question", where)
    if more:
        raise UserError(f"{where}: field 'question' must be one text")
    identity = row.get("question_id", where)  # needed in evaluation alone
    return Question(clips, str(identity), question, _texts(row, "answer", where))


_PARSERS: Mapping[str, Callable[[dict[str, Any], tuple[Clip, ...], str], AnyRecord]] = {
    "captions": _captions,
    "choices": _choice,
    "questions": _question,
}


def _field(row: dict[str, Any], field: str, where: str) -> Any:
    if field not in row:
        raise UserError(f"{where}: field {field!r} is missing")
    return row[field]


def _texts(row: dict[str, Any], field: str, where: str) -> tuple[str, ...]:
    """A field that is a text or a list of texts, as a tuple of at least one."""
    value = _field(row, field, where)
    texts = value if isinstance(value, list) else [value]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise UserError(f"{where}: field {field!r} must be a text or a list of texts")
    return tuple(texts)
