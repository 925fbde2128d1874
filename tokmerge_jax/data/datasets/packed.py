"""Writes the videos inside a table to files, so that they are read like any others.

A cell holds a file's bytes; its `bytes` and `path`, as a Parquet table of Hugging Face does; or
frames, as TFDS does, which become a lossless video.
"""

import dataclasses
import hashlib
import pathlib
import re
from collections.abc import Mapping

import numpy as np

from tokmerge_jax import disk, hosts, video_file
from tokmerge_jax.data.datasets import files
from tokmerge_jax.data.video.folder import SUFFIXES
from tokmerge_jax.types import Json, UserError

_LENGTH = 50  # most characters of a file's name that come from the table; each has up to 4 bytes
_RATE = 25  # frames per second of a video of frames; TFDS states none


def is_video(cell: Json) -> bool:
    """Whether a cell holds a video itself, not its name."""
    return isinstance(cell, bytes | Mapping | np.ndarray)


@dataclasses.dataclass(frozen=True)
class Files:
    """The files of the videos inside tables; they are all in `folder`, wherever paths point.

    A name ends in the digest of the content: equal videos share a file, others never do, and a
    file that is there is the video, since it was written as a whole.
    """

    folder: pathlib.Path
    _names: dict[str, str] = dataclasses.field(default_factory=dict)  # digest -> name

    def name(self, cell: Json, number: int, where: str) -> str:
        """The name of a video's file in `folder`, which process 0 writes unless it is there.

        Args:
          cell: the video, as in `is_video`; if it has a path but no bytes, the path is its name.
          number: the number of its row, which names a video without a path.
          where: the place of its row, for messages.

        Raises:
          UserError: if the cell holds neither bytes nor frames, or the file cannot be written.
        """
        fields = cell if isinstance(cell, Mapping) else {"bytes": cell}
        content, path = fields.get("bytes"), fields.get("path") or ""
        if content is None:
            return path
        _check(content, where)
        frames = isinstance(content, np.ndarray)
        shape = repr(content.shape).encode() if frames else b""
        digest = hashlib.sha256(shape + bytes(content)).hexdigest()
        suffix = ".mkv" if frames else ".mp4"
        name = self._names.setdefault(digest, _name(str(path), number, digest, suffix))
        if not hosts.number() and not (self.folder / name).exists():
            disk.make(self.folder)
            with disk.replaced(self.folder / name) as part:
                if frames:
                    video_file.write(part, content, _RATE, video_file.LOSSLESS)
                else:
                    part.write_bytes(content)
        return name


def _check(content: Json, where: str) -> None:
    """Raises UserError unless `content` is bytes, or at least one frame."""
    if isinstance(content, np.ndarray):
        if content.dtype != np.uint8 or content.shape[3:] != (3,) or not content.size:
            raise UserError(
                f"{where}: frames must be uint8 [T,H,W,3], not {content.dtype} {content.shape}"
            )
    elif not isinstance(content, bytes):
        raise UserError(f"{where}: a video must be bytes, not {files.shown(content)}")


def _name(path: str, number: int, digest: str, suffix: str) -> str:
    """The base name of a path, or else the row's number, without characters of a path.

    A name that does not have the suffix of a video gets `suffix`.
    """
    base = pathlib.PurePosixPath(re.sub(r"[^\w.-]+", "_", re.split(r"[/\\]", path)[-1]))
    suffix = base.suffix if base.suffix.lower() in SUFFIXES else suffix
    stem = base.name.removesuffix(suffix).strip("._-")[:_LENGTH]
    return f"{stem or f'row{number}'}-{digest[:16]}{suffix}"
