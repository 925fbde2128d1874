"""A folder of videos, without annotations: what is in it, and its clips in batches."""

import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import UInt8

from tokmerge_jax.data.clips import Decoder, in_order
from tokmerge_jax.types import UserError

SUFFIXES = (".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
"""Of files that are taken for videos, in small letters."""


def find(folder: pathlib.Path) -> dict[str, tuple[int, int]]:
    """The videos in a folder and those below it: relative path -> size and time of change (ns).

    Raises:
      UserError: if there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"--videos={folder}: no such folder")
    files = (file for file in sorted(folder.rglob("*")) if file.suffix.lower() in SUFFIXES)
    found = {str(f.relative_to(folder)): f.stat() for f in files if f.is_file()}
    return {path: (status.st_size, status.st_mtime_ns) for path, status in found.items()}


@dataclasses.dataclass(frozen=True)
class Clips:
    """Some videos of a folder.

    Attributes:
      paths: of the videos.
      decoder: a path to its frames.
      transform: frames uint8 [T,H,W,3] -> [T,S,S,3]; picklable.
      workers: how many processes decode.
    """

    paths: Sequence[str]
    decoder: Decoder
    transform: Callable[[np.ndarray], np.ndarray]
    workers: int

    def batches(
        self, batch_size: int
    ) -> Iterator[tuple[list[str], UInt8[np.ndarray, "B T S S 3"], dict[str, str]]]:
        """Paths, as many clips (padded to `batch_size`), and what failed by path, in order."""
        made = zip(
            self.paths, in_order(self._attempt, 0, len(self.paths), self.workers), strict=True
        )
        faults: dict[str, str] = {}
        good = self._good(made, faults)
        while chunk := list(itertools.islice(good, batch_size)):
            paths, clips = zip(*chunk, strict=True)
            yield list(paths), np.stack([*clips, *[clips[0]] * (batch_size - len(clips))]), faults
            faults.clear()
        if faults:
            shape = (batch_size, 0, 0, 0, 3)
            yield [], np.zeros(shape, np.uint8), faults

    @staticmethod
    def _good(
        made: Iterator[tuple[str, np.ndarray | str]], faults: dict[str, str]
    ) -> Iterator[tuple[str, np.ndarray]]:
        for path, clip in made:
            if isinstance(clip, str):
                faults[path] = clip
            else:
                yield path, clip

    def _attempt(self, place: int) -> np.ndarray | str:
        """A clip, or why there is none."""
        try:
            return self.transform(self.decoder(self.paths[place]))
        except UserError as error:
            return str(error)
