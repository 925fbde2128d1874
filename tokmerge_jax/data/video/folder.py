"""Folders of videos without annotations: lists the videos and reads their clips in batches."""

import dataclasses
import itertools
import os
import pathlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

import numpy as np
from jaxtyping import UInt8

from tokmerge_jax import disk
from tokmerge_jax.data.video.checking import stamp
from tokmerge_jax.data.video.clips import ClipReader, Decoder
from tokmerge_jax.data.video.workers import Fault, in_order
from tokmerge_jax.types import UserError

SUFFIXES = (
    ".264", ".265", ".3g2", ".3gp", ".amv", ".apng", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv",
    ".gif", ".h264", ".h265", ".hevc", ".ivf", ".m1v", ".m2t", ".m2ts", ".m2v", ".m4v", ".mj2",
    ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mpv", ".mts", ".mxf",
    ".nut", ".obu", ".ogg", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".tod", ".ts", ".vob", ".webm",
    ".wmv", ".wtv", ".y4m",
)  # fmt: skip
"""Suffixes, in lower case, of the files in a folder that count as videos."""

Stamp = tuple[int, int]
"""A file's size and its modification time in nanoseconds: unchanged as long as the file is."""

_KINDS_SHOWN = 5  # suffixes of skipped files that a message lists


def find(folder: pathlib.Path) -> dict[str, Stamp]:
    """Finds the videos in a folder and below it: relative path -> (size, modification time in ns).

    The number of other files is reported on stderr. Links to folders are not followed; a link to a
    missing file has size 0 and time 0.

    Raises:
      UserError: if the folder does not exist, holds no video, or has a subfolder that cannot be
        opened (its videos would seem to be deleted).
    """
    if not os.path.isdir(folder):
        raise UserError(f"videos={folder}: no such folder; name one that holds videos")
    videos, others = _files(folder, _refuse)
    if not videos:
        held = f"no file with a video's suffix, but {_counted(others)}" if others else "no file"
        raise UserError(f"videos={folder} holds {held}")
    _report(folder, others)
    return {
        str(file.relative_to(folder)): (size, modified)
        for file in videos
        for size, modified, *_ in [stamp(file) or (0, 0)]  # more if named as frames
    }


def listed(folder: pathlib.Path) -> list[pathlib.Path]:
    """Lists the videos in a folder and below it; the list may be empty.

    Folders that cannot be opened and the number of other files are reported on stderr.
    """

    def leave_out(error: OSError) -> None:
        print(f"{error.filename}: cannot be opened ({error.strerror}): left out", file=sys.stderr)

    videos, others = _files(folder, leave_out)
    if videos:
        _report(folder, others)
    return videos


def is_mark_of_macos(name: str) -> bool:
    """Whether a name is that of a metadata file, such as ._a.mp4.

    macOS writes one beside each file on disks of other systems.
    """
    return name.startswith("._")


def _files(
    folder: pathlib.Path, refuse: Callable[[OSError], None]
) -> tuple[list[pathlib.Path], Counter[str]]:
    """Returns (videos in the order of their paths, number of other files by suffix).

    `refuse` is called with the error of each folder that cannot be opened.
    """
    videos: list[pathlib.Path] = []
    others = Counter[str]()
    for at, _, names in os.walk(folder, onerror=refuse):
        for file in (pathlib.Path(at, name) for name in sorted(names)):
            suffix = "._*" if is_mark_of_macos(file.name) else file.suffix.lower()
            if suffix in SUFFIXES:
                videos.append(file)
            else:
                others[suffix or "without suffix"] += 1
    return sorted(videos), others


def _refuse(error: OSError) -> NoReturn:
    disk.raise_shortage(error)
    raise UserError(
        f"{error.filename}: cannot be opened ({error.strerror}); change its permissions, check the"
        " disk, or move it out of that folder"
    ) from error


def _report(folder: pathlib.Path, others: Counter[str]) -> None:
    if others:
        print(f"{folder}: {others.total()} files skipped: {_counted(others)}", file=sys.stderr)


def _counted(others: Counter[str]) -> str:
    """Numbers of files by suffix, the most frequent first: "10 .jpg, 2 .txt"."""
    shown = [f"{count} {suffix}" for suffix, count in others.most_common(_KINDS_SHOWN)]
    rest = others.total() - sum(count for _, count in others.most_common(_KINDS_SHOWN))
    return ", ".join([*shown, f"{rest} more"] if rest else shown)


@dataclasses.dataclass(frozen=True)
class FolderClips:
    """The clips of some videos in a folder.

    Attributes:
      paths: the videos' paths.
      decoder: reads the frames of a path.
      transform: frames uint8 [T,H,W,3] -> [T,S,S,3]; picklable.
      workers: number of processes that decode.
    """

    paths: Sequence[str]
    decoder: Decoder
    transform: Callable[[np.ndarray], np.ndarray]
    workers: int

    def batches(
        self, batch_size: int, refuse: Callable[[str, str], None]
    ) -> Iterator[tuple[tuple[str, ...], UInt8[np.ndarray, "B T S S 3"]]]:
        """Yields (paths, clips) in order; the last batch repeats a clip up to `batch_size`.

        Args:
          batch_size: B.
          refuse: called with the path of each video that cannot be used and the reason.
        """
        good = self._good(refuse)
        while chunk := list(itertools.islice(good, batch_size)):
            paths, clips = zip(*chunk, strict=True)
            yield paths, np.stack([*clips, *[clips[0]] * (batch_size - len(clips))])

    def _good(self, refuse: Callable[[str, str], None]) -> Iterator[tuple[str, np.ndarray]]:
        read = ClipReader(self.decoder, self.transform)
        clips = in_order(read, self.paths, self.workers, self.decoder.name)
        for path, clip in zip(self.paths, clips, strict=True):
            if isinstance(clip, Fault):
                refuse(path, clip.text)
            else:
                yield path, clip
