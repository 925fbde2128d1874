"""Videos that come as folders of pictures, one a frame, with the interface of `video.Video`.

The path of such a video ends in the pattern of its files' names: `120045/img_{:05d}.jpg`.
"""

import os
import pathlib
import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from tokmerge_jax.types import UserError

_PLACE = re.compile(r"\{:0(\d+)d\}")
_NUMBERED = re.compile(r"(.*?)(\d+)(\.(?:jpe?g|png|webp|bmp))", re.IGNORECASE | re.DOTALL)
_USUAL = ("img_{:05d}.jpg", "{:05d}.jpg")  # names of frames beside other pictures
_RATE = 25.0  # frames a second; pictures do not say


def is_pattern(path: pathlib.Path | str) -> bool:
    """Whether a path names the files of a folder of frames."""
    return _PLACE.search(pathlib.Path(path).name) is not None


def pattern(folder: pathlib.Path) -> str | None:
    """How the pictures in a folder are named, for example "img_{:05d}.jpg"; None if there is none.

    Those belong together that differ in their last number only. Where several kinds lie in the
    folder (optical flow beside the frames, a stray thumbnail), the one of a usual name counts.

    Raises:
      UserError: if it holds several kinds, and not one of these alone is named as frames usually.
    """
    try:
        files = [file.name for file in folder.iterdir() if not file.name.startswith(".")]
    except OSError:
        return None
    numbers: dict[tuple[str, str], list[str]] = {}
    for match in filter(None, map(_NUMBERED.fullmatch, sorted(files))):
        numbers.setdefault((match[1], match[3]), []).append(match[2])
    kinds = [f"{before}{_place(seen)}{after}" for (before, after), seen in numbers.items()]
    chosen = [kind for kind in kinds if kind in _USUAL] if len(kinds) > 1 else kinds
    if kinds and len(chosen) != 1:
        raise UserError(
            f"{folder}: holds pictures of several kinds, {' and '.join(map(_first, kinds[:3]))};"
            " leave the frames alone there, or name them img_00001.jpg, img_00002.jpg, ..."
        )
    return chosen[0] if chosen else None


def names(path: pathlib.Path) -> list[str]:
    """The files that a path with a pattern stands for, in the order of their numbers.

    Raises:
      UserError: if there is no such folder, no such file in it, or one between others is missing.
    """
    try:
        found = _numbered(path)
    except OSError as error:
        raise UserError(f"{path}: no such folder of frames ({error.strerror})") from error
    if not found:
        raise UserError(f"{path}: the folder holds no such frame")
    for number in range(min(found), max(found)):
        if number not in found:
            missing = path.name.format(number)
            raise UserError(f"{path}: {missing} is missing; extract the frames of this video anew")
    return [*found.values()]


def stamp(path: pathlib.Path) -> tuple[int, ...]:
    """What changes when the frames of a path with a pattern do: the folder's time of change (ns),
    their number, and size and time of change (ns) of the first and the last.

    Raises:
      OSError: if there is no such folder.
    """
    found = [*_numbered(path).values()]
    ends = [os.stat(path.with_name(name)) for name in (*found[:1], *found[-1:])]
    times = (number for end in ends for number in (end.st_size, end.st_mtime_ns))
    return (os.stat(path.parent).st_mtime_ns, len(found), *times)


class FrameFolder:
    """A video whose frames are pictures, numbered from 0; see `video.open_video`."""

    def __init__(self, path: pathlib.Path):
        self._path = path
        self._names = names(path)

    @property
    def length(self) -> int:
        """How many frames there are: files, whatever a list says."""
        return len(self._names)

    @property
    def unshown(self) -> int:
        """Number of files of which no frame is shown."""
        return 0

    @property
    def rate(self) -> float:
        """Frames per second: 25, as most videos have, for nothing tells.

        So `config.data.trim_seconds`, in seconds, is exact only of frames extracted at that rate.
        """
        return _RATE

    def read(self, indices: Sequence[int]) -> UInt8[np.ndarray, "T H W 3"]:
        """RGB frames by number, in any order, repeats allowed.

        Raises:
          UserError: naming the file that cannot be decoded or is of another size than the first.
        """
        found = {index: self._frame(index) for index in dict.fromkeys(map(int, indices))}
        size = next(iter(found.values())).shape
        for index, pixels in found.items():
            if pixels.shape != size:
                file = self._path.with_name(self._names[index])
                raise UserError(f"{file}: is of another size than other frames; extract them anew")
        return np.stack([found[int(index)] for index in indices])

    def close(self) -> None:
        """Nothing is left open."""

    def _frame(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        file = self._path.with_name(self._names[index])
        try:
            with Image.open(file) as picture:
                return np.asarray(picture.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises of damaged files
            raise UserError(f"{file}: cannot be decoded; extract the frames anew") from error


def _place(numbers: Sequence[str]) -> str:
    """The pattern of numbers: as many digits as one with leading zeros has, or the shortest."""
    first = min(numbers, key=lambda number: (not number.startswith("0"), len(number)))
    return f"{{:0{len(first)}d}}"


def _first(kind: str) -> str:
    """How a frame of that pattern is named, for messages."""
    return _PLACE.sub(lambda place: f"{1:0{int(place[1])}d}", kind)


def _numbered(path: pathlib.Path) -> dict[int, str]:
    """The files that a path with a pattern stands for, by their numbers, in order."""
    place = _PLACE.search(path.name)
    assert place is not None
    before, after = path.name[: place.start()], path.name[place.end() :]
    form = re.compile(f"{re.escape(before)}(\\d{{{place[1]},}}){re.escape(after)}")
    matches = filter(None, map(form.fullmatch, os.listdir(path.parent)))
    return dict(sorted((int(match[1]), match[0]) for match in matches))
