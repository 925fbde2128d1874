"""Writes the videos inside a table to files, so that they are read like any others.

A cell holds a file's bytes, or its `bytes` and `path`, as a Parquet table of Hugging Face does.
"""

import dataclasses
import hashlib
import pathlib
import re
from collections.abc import Mapping

from tokmerge_jax import disk, hosts
from tokmerge_jax.data.video.folder import SUFFIXES
from tokmerge_jax.types import Json

_LENGTH = 50  # most characters of a file's name that come from the table; each has up to 4 bytes


def is_video(cell: Json) -> bool:
    """Whether a cell holds a video itself, not its name."""
    return isinstance(cell, bytes | Mapping)


@dataclasses.dataclass(frozen=True)
class Files:
    """The files of the videos inside tables; they are all in `folder`, wherever paths point.

    A name ends in the digest of the content: equal videos share a file, others never do, and a
    file that is there with its size is whole, since it was written as a whole.
    """

    folder: pathlib.Path
    _names: dict[str, str] = dataclasses.field(default_factory=dict)  # digest -> name

    def name(self, cell: Json, number: int) -> str:
        """The name of a video's file in `folder`, which process 0 writes unless it is there.

        Args:
          cell: the video, as in `is_video`; if it has a path but no bytes, the path is its name.
          number: the number of its row, which names a video without a path.

        Raises:
          UserError: if the file cannot be written.
        """
        fields = cell if isinstance(cell, Mapping) else {"bytes": cell}
        content, path = fields.get("bytes"), fields.get("path") or ""
        if content is None:
            return path
        digest = hashlib.sha256(content).hexdigest()
        name = self._names.setdefault(digest, _name(path, number, digest))
        if not hosts.number():
            self._write(self.folder / name, content)
        return name

    def _write(self, path: pathlib.Path, content: bytes) -> None:
        if not path.exists() or path.stat().st_size != len(content):
            disk.make(self.folder)
            with disk.replaced(path) as part:
                part.write_bytes(content)


def _name(path: str, number: int, digest: str) -> str:
    """The base name of a path, or else the row's number, without characters of a path."""
    base = pathlib.PurePosixPath(re.sub(r"[^\w.-]+", "_", re.split(r"[/\\]", path)[-1]))
    suffix = base.suffix if base.suffix.lower() in SUFFIXES else ".mp4"
    stem = base.name.removesuffix(suffix).strip("._-")[:_LENGTH]
    return f"{stem or f'row{number}'}-{digest[:16]}{suffix}"
