"""Finding the files of videos that annotations name in another way."""

import dataclasses
import functools
import os
import pathlib
import re

from tokmerge_jax.data.datasets.video_text import Clip
from tokmerge_jax.data.folder import SUFFIXES

_SUFFIX = re.compile(f"({'|'.join(map(re.escape, (*SUFFIXES, '.asf', '.vob')))})$", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Videos:
    """The files in a folder and the folders in it, found by name, or by name less suffix."""

    folder: pathlib.Path

    def clip(self, name: str, *spellings: str) -> Clip:
        """The video `name`, and where it is.

        A video without a file gets the path that it should have; the check of the videos tells.

        Args:
          name: as the annotations have it.
          spellings: how its file may be named, the likeliest first; none: as `name`.
        """
        keys = [key for spelling in spellings or (name,) for key in (spelling, _stem(spelling))]
        expected = self.folder / (f"{name}.mp4" if _stem(name) == name else name)
        path = next((self._files[key] for key in keys if key in self._files), str(expected))
        return Clip(name, path)

    @functools.cached_property
    def _files(self) -> dict[str, str]:
        """Paths by the files' names and by their stems; the first in order has the name."""
        found = sorted(
            pathlib.Path(at, name) for at, _, names in os.walk(self.folder) for name in names
        )
        found.reverse()  # of equal keys the last stays
        stems = {_stem(path.name): str(path) for path in found}
        return stems | {path.name: str(path) for path in found}


def with_and_without_v(name: str) -> tuple[str, str]:
    """How files of ActivityNet are named: by the id of the video, or with v_ before it."""
    bare = name.removeprefix("v_")
    return bare, f"v_{bare}"


def _stem(name: str) -> str:
    """A name less the suffix of a video; what follows another dot is part of it.

    Names of LSMDC have dots, and subtitles or pictures that lie beside a video are not meant.
    """
    return _SUFFIX.sub("", name)
