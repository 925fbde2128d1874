"""A folder of videos, without annotations: what is in it, and its clips in batches."""

import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import UInt8

from tokmerge_jax.data.checking import stamp
from tokmerge_jax.data.clips import Decoder, in_order
from tokmerge_jax.types import UserError

SUFFIXES = (".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg",
            ".mts", ".ogv", ".ts", ".webm", ".wmv")  # fmt: skip
"""Of files that are taken for videos, in small letters."""


def find(folder: pathlib.Path) -> dict[str, tuple[int, ...]]:
    """The videos in a folder and those below it: relative path -> size and time of change (ns).

    Links to folders are not followed; a link to a file that is gone is 0 bytes of time 0.

    Raises:
      UserError: if there is no such folder, or no video in it.
    """
    if not folder.is_dir():
        raise UserError(f"--videos={folder}: no such folder; name one that holds videos")
    files = (file for file in sorted(folder.rglob("*")) if file.suffix.lower() in SUFFIXES)
    found = {str(f.relative_to(folder)): stamp(f) or (0, 0) for f in files if not f.is_dir()}
    if not found:
        raise UserError(f"--videos={folder} holds no video ({', '.join(SUFFIXES)})")
    return found


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
        self, batch_size: int, refuse: Callable[[str, str], None]
    ) -> Iterator[tuple[tuple[str, ...], UInt8[np.ndarray, "B T S S 3"]]]:
        """Paths, and their clips, in order; the last batch repeats a clip up to `batch_size`.

        Args:
          batch_size: B.
          refuse: is told the path of each video that cannot be used, and why.
        """
        good = self._good(refuse)
        while chunk := list(itertools.islice(good, batch_size)):
            paths, clips = zip(*chunk, strict=True)
            yield paths, np.stack([*clips, *[clips[0]] * (batch_size - len(clips))])

    def _good(self, refuse: Callable[[str, str], None]) -> Iterator[tuple[str, np.ndarray]]:
        clips = in_order(self._attempt, 0, len(self.paths), self.workers)
        for path, clip in zip(self.paths, clips, strict=True):
            if isinstance(clip, str):
                refuse(path, clip)
            else:
                yield path, clip

    def _attempt(self, place: int) -> np.ndarray | str:
        """A clip, or why there is none."""
        try:
            return self.transform(self.decoder(self.paths[place]))
        except UserError as error:
            return str(error)
