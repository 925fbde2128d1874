"""Finding the files of videos that annotations name in another way."""

import dataclasses
import functools
import os
import pathlib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence

from tokmerge_jax.data.datasets.video_text import Clip
from tokmerge_jax.data.video.folder import SUFFIXES, is_mark_of_macos

_SUFFIX = re.compile(f"({'|'.join(map(re.escape, SUFFIXES))})$", re.IGNORECASE)
_BESIDE = (".gif", ".ogg")  # previews and sound lie beside videos of the same name


@dataclasses.dataclass(frozen=True)
class Videos:
    """The files in a folder and the folders in it, found by the names that annotations have.

    A name may begin with folders, which must then be those that the file lies in. The file whose
    path is the name comes first, then one of the same name in the other form of Unicode (é as one
    character or as two) or in a folder below, then one of the same name but for the suffix of a
    video. Of several such files, the first in the order of their paths is taken.
    """

    folder: pathlib.Path

    def clip(self, name: str, *spellings: str) -> Clip:
        """The video `name`, and where it is.

        One without a file gets the path that it should have; the check of the videos reports it.

        Args:
          name: as the annotations have it.
          spellings: how its file may be named, the likeliest first; none: as `name`.
        """
        nearest = filter(None, map(self._nearest, spellings or (name,)))
        bare = "/" not in name and _stem(name) == name
        return Clip(name, str(self.folder / next(nearest, f"{name}.mp4" if bare else name)))

    def _nearest(self, spelling: str) -> str | None:
        """The path in the folder that fits a spelling best; None if none does."""
        spelling = os.path.normpath(spelling)
        if os.path.isfile(self.folder / spelling):
            return spelling  # lists of millions of videos need no look through the whole folder
        paths = (self._by_path if os.sep in spelling else self._by_name).get(_key(spelling), ())
        ranked = [
            (rank, path.lower().endswith(_BESIDE), path.split(os.sep), path)
            for path in paths
            if (rank := _rank(path, spelling)) is not None
        ]
        return min(ranked)[-1] if ranked else None

    @functools.cached_property
    def _by_path(self) -> Mapping[str, Sequence[str]]:
        """The files' paths in the folder, by the keys of these."""
        return _grouped(self.folder, str)

    @functools.cached_property
    def _by_name(self) -> Mapping[str, Sequence[str]]:
        """The files' paths in the folder, by the keys of their last parts."""
        return _grouped(self.folder, os.path.basename)


def spelled(folder: pathlib.Path, name: str) -> pathlib.Path:
    """The path of a name in a folder, in that form of Unicode in which it is there, if in any."""
    forms = () if name.isascii() else (name, _composed(name), unicodedata.normalize("NFD", name))
    return next(filter(os.path.exists, (folder / form for form in forms)), folder / name)


def with_and_without_v(name: str) -> tuple[str, str]:
    """How files of ActivityNet are named: by the id of the video, or with v_ before it."""
    bare = name.removeprefix("v_")
    return bare, f"v_{bare}"


def _grouped(folder: pathlib.Path, name_of: Callable[[str], str]) -> Mapping[str, Sequence[str]]:
    paths: dict[str, list[str]] = {}
    for at, _, names in os.walk(folder):
        below = os.path.relpath(at, folder)
        for path in (os.path.normpath(f"{below}/{n}") for n in names if not is_mark_of_macos(n)):
            paths.setdefault(_key(name_of(path)), []).append(path)
    return paths


def _key(name: str) -> str:
    """What all names have in common that may mean one file: the name less suffixes."""
    name = _composed(name)
    while (stem := _stem(name)) != name:
        name = stem
    return name


def _rank(path: str, spelling: str) -> int | None:
    """How well a path fits a spelling, 0 the best; None if it does not."""
    there, wanted = _composed(path), _composed(spelling)
    name = there if os.sep in wanted else os.path.basename(there)
    fits = (
        there == wanted,
        name == wanted,
        _stem(name) == wanted,  # x.mov.mp4
        name == _stem(wanted),
        _stem(name) == _stem(wanted),
    )
    return fits.index(True) if any(fits) else None


def _composed(name: str) -> str:
    """A name in the form of Unicode in which an accent and its letter are one character."""
    return unicodedata.normalize("NFC", name)


def _stem(name: str) -> str:
    """A name less the suffix of a video; what follows another dot is part of it.

    Names of LSMDC have dots, and subtitles or pictures that lie beside a video are not meant.
    """
    return _SUFFIX.sub("", name)
