"""Finds the video files that annotations mean, although names may differ in spelling."""

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
_BESIDE = (".gif", ".ogg")  # previews and sound tracks often have the name of a video


@dataclasses.dataclass(frozen=True)
class Videos:
    """Finds files in a folder and its subfolders by the names in annotations.

    A name may begin with folders, which must then be those of the file. In order of preference: the
    file whose path is the name; one of the same name in the other form of Unicode (é as one
    character or two) or in a subfolder; one whose name differs only in the video suffix. Among
    equals, the first in the order of paths is taken.
    """

    folder: pathlib.Path

    def clip(self, name: str, *spellings: str) -> Clip:
        """Returns the video `name` with its path.

        A missing file gets the path that it should have; the later check reports it.

        Args:
          name: the name in the annotations.
          spellings: possible names of the file, the likeliest first; by default `name`.
        """
        nearest = filter(None, map(self._nearest, spellings or (name,)))
        bare = "/" not in name and _stem(name) == name
        return Clip(name, str(self.folder / next(nearest, f"{name}.mp4" if bare else name)))

    def _nearest(self, spelling: str) -> str | None:
        """The path in the folder that fits a spelling best; None if no path fits."""
        spelling = os.path.normpath(spelling)
        if os.path.isfile(self.folder / spelling):
            return spelling  # avoids walking through a folder of millions of videos
        paths = (self._by_path if os.sep in spelling else self._by_name).get(_key(spelling), ())
        ranked = [
            (rank, path.lower().endswith(_BESIDE), path.split(os.sep), path)
            for path in paths
            if (rank := _rank(path, spelling)) is not None
        ]
        return min(ranked)[-1] if ranked else None

    @functools.cached_property
    def _by_path(self) -> Mapping[str, Sequence[str]]:
        """Key (`_key`) of a path -> paths in the folder."""
        return _grouped(self.folder, str)

    @functools.cached_property
    def _by_name(self) -> Mapping[str, Sequence[str]]:
        """Key (`_key`) of a file name -> paths in the folder."""
        return _grouped(self.folder, os.path.basename)


def spelled(folder: pathlib.Path, name: str) -> pathlib.Path:
    """The path of a name in a folder, in the form of Unicode that exists there, if any does."""
    forms = () if name.isascii() else (name, _composed(name), unicodedata.normalize("NFD", name))
    return next(filter(os.path.exists, (folder / form for form in forms)), folder / name)


def with_and_without_v(name: str) -> tuple[str, str]:
    """The two spellings of ActivityNet's file names: the video's id, without and with `v_`."""
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
    """A key shared by all names that may mean the same file: the name without suffixes."""
    name = _composed(name)
    while (stem := _stem(name)) != name:
        name = stem
    return name


def _rank(path: str, spelling: str) -> int | None:
    """The rank of a path for a spelling: 0 is best, None if it does not fit."""
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
    """A name in Unicode's composed form (NFC): a letter and its accent are one character."""
    return unicodedata.normalize("NFC", name)


def _stem(name: str) -> str:
    """A name without a video's suffix; other suffixes stay.

    For names of LSMDC contain dots, and subtitles or pictures beside a video must not match.
    """
    return _SUFFIX.sub("", name)
