"""Reading UMT's annotation files: JSON lists of {"video": path or paths, "caption": text or texts}.

Several captions of a video and several videos of a caption (Something-Something) are both lists.
"""

import json
import pathlib
from typing import Any

from tokmerge_jax.data.datasets.video_text import Clip, Record
from tokmerge_jax.types import UserError


def read(path: pathlib.Path, videos: pathlib.Path) -> tuple[Record, ...]:
    """The records of an annotation file, in order; video paths are taken to lie in `videos`.

    Raises:
      UserError: naming the file, and the record and field that is missing or of another type.
    """
    try:
        rows = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{path}: must hold a JSON list of records")
    return tuple(_record(row, f"{path}, record {i}", videos) for i, row in enumerate(rows))


def _record(row: Any, where: str, videos: pathlib.Path) -> Record:
    if not isinstance(row, dict):
        raise UserError(f"{where}: must be an object with the fields video and caption")
    clips = (Clip(name, str(videos / name)) for name in _texts(row, "video", where))
    return Record(tuple(clips), _texts(row, "caption", where))


def _texts(row: dict[str, Any], field: str, where: str) -> tuple[str, ...]:
    """A field that is a text or a list of texts, as a tuple of at least one."""
    if field not in row:
        raise UserError(f"{where}: field {field!r} is missing")
    texts = row[field] if isinstance(row[field], list) else [row[field]]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise UserError(f"{where}: field {field!r} must be a text or a list of texts")
    return tuple(texts)
