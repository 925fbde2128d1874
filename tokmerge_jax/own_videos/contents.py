"""What an index holds, counted by Arrow: a loop over a million rows would take seconds."""

import os
import pathlib
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from tokmerge_jax.own_videos.index import WINDOWS
from tokmerge_jax.own_videos.table import Table


class Contents(NamedTuple):
    """What an index holds at a time.

    Attributes:
      paths: the paths of all videos, as bytes.
      complete: number of videos that are completely indexed.
      windows: number of windows that can be found.
    """

    paths: pa.ChunkedArray
    complete: int
    windows: int

    def known(self, paths: list[str]) -> list[bool]:
        """Which of some paths are those of videos."""
        asked = pa.array([*map(os.fsencode, paths)], self.paths.type)
        return pc.is_in(asked, value_set=self.paths).to_pylist()

    def folders(self) -> set[str]:
        """The folders that hold videos, directly or below."""
        last = pc.replace_substring_regex(self.paths, pattern="[^/]*$", replacement="")
        holding = map(os.fsdecode, pc.unique(last).to_pylist())
        above = {str(each) for name in holding for each in pathlib.PurePath(name, "file").parents}
        return above - {"."}


def read(folder: pathlib.Path) -> Contents:
    """Reads what the index in `folder` holds.

    Raises:
      UserError: if it is damaged.
    """
    table = Table(folder)
    return Contents(*table.videos(), table.count(WINDOWS))
