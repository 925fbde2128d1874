"""From records to what is matched: the gallery of an evaluation, the rows of a training."""

import dataclasses
from collections.abc import Sequence

from tokmerge_jax.data.datasets.video_text import Clip, Record
from tokmerge_jax.types import Gallery


@dataclasses.dataclass(frozen=True)
class Row:
    """One training pair; rows of equal `match_id` are true pairs of one another."""

    path: str
    caption: str
    match_id: int


def paragraphs(records: Sequence[Record]) -> list[Record]:
    """The records with the captions of each joined into one by single spaces."""
    return [dataclasses.replace(r, captions=(" ".join(r.captions),)) for r in records]


def without_broken(records: Sequence[Record]) -> tuple[list[Record], tuple[Clip, ...]]:
    """The records less unusable videos and less texts that have no other; and those videos."""
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
