"""Videos stored as folders of pictures, one per frame, with the interface of `decode.Video`.

The path of such a video ends in the pattern of its file names: `120045/img_{:05d}.jpg`.
"""

import os
import pathlib
import re
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from tokmerge_jax.types import UserError

_PLACE = re.compile(r"\{:0(\d+)d\}")
_NUMBERED = re.compile(r"(.*?)(\d+)(\.(?:jpe?g|png|webp|bmp))", re.IGNORECASE | re.DOTALL)
_USUAL = ("img_{:05d}.jpg", "{:05d}.jpg")  # preferred where a folder holds other pictures too
_RATE = 25.0  # frames per second; pictures do not state it


def is_pattern(path: pathlib.Path | str) -> bool:
    """Whether a path ends in a pattern of frame files."""
    return _PLACE.search(pathlib.Path(path).name) is not None


def pattern(folder: pathlib.Path) -> str | None:
    """The pattern of the picture names in a folder, such as "img_{:05d}.jpg"; None if empty.

    Pictures whose names differ only in the last number belong together. If the folder holds several
    kinds (optical flow beside the frames, a stray thumbnail), the kind with a usual name is taken.

    Raises:
      UserError: if it holds several kinds and not exactly one of them has a usual name.
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
        firsts = [_PLACE.sub(lambda place: f"{1:0{int(place[1])}d}", kind) for kind in kinds[:3]]
        raise UserError(
            f"{folder}: holds pictures of several kinds, {' and '.join(firsts)};"
            " keep only the frames there, or name them img_00001.jpg, img_00002.jpg, ..."
        )
    return chosen[0] if chosen else None


def names(path: pathlib.Path) -> list[str]:
    """The files that match a path with a pattern, in the order of their numbers.

    Raises:
      UserError: if the folder or every file is missing, or if there is a gap in the numbers.
    """
    try:
        files = _numbered(path)
    except OSError as error:
        raise UserError(f"{path}: no such folder of frames ({error.strerror})") from error
    if not files:
        raise UserError(f"{path}: the folder holds no frame with such a name")
    for number in range(min(files), max(files)):
        if number not in files:
            missing = path.name.format(number)
            raise UserError(f"{path}: {missing} is missing; extract the frames of this video again")
    return [*files.values()]


def stamp(path: pathlib.Path) -> tuple[int, ...]:
    """A tuple that changes when the frames do.

    It holds the folder's modification time (ns), the number of frames, and size and modification
    time (ns) of the first and the last.

    Raises:
      OSError: if the folder does not exist.
    """
    files = [*_numbered(path).values()]
    ends = [os.stat(path.with_name(name)) for name in (*files[:1], *files[-1:])]
    times = (number for end in ends for number in (end.st_size, end.st_mtime_ns))
    return (os.stat(path.parent).st_mtime_ns, len(files), *times)


class FrameFolder:
    """A video whose frames are pictures, numbered from 0; see `video.open_video`."""

    def __init__(self, path: pathlib.Path):
        self._path = path
        self._names = names(path)

    @property
    def length(self) -> int:
        """Number of frames, that is, of files, whatever an annotation list states."""
        return len(self._names)

    @property
    def unshown(self) -> int:
        """Number of files without a shown frame: none."""
        return 0

    @property
    def rate(self) -> float:
        """Frames per second, assumed to be 25, since pictures do not state it.

        So `config.data.trim_seconds` is exact only for frames extracted at that rate.
        """
        return _RATE

    def read(
        self, indices: Sequence[int], each: Callable[[np.ndarray], np.ndarray] = lambda frame: frame
    ) -> UInt8[np.ndarray, "T H W 3"]:
        """Reads RGB frames by number, in any order, repeats allowed, and applies `each` to each.

        Raises:
          UserError: if a file cannot be decoded or differs in size from the first; the message
            names it.
        """
        frames = {index: self._frame(index) for index in dict.fromkeys(map(int, indices))}
        size = next(iter(frames.values())).shape
        for index, pixels in frames.items():
            if pixels.shape != size:
                file = self._path.with_name(self._names[index])
                raise UserError(f"{file}: differs in size from other frames; extract them again")
        return np.stack([each(frames[int(index)]) for index in indices])

    def _frame(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        file = self._path.with_name(self._names[index])
        try:
            with Image.open(file) as picture:
                return np.asarray(picture.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:  # Pillow's, for damaged files
            raise UserError(f"{file}: cannot be decoded; extract the frames again") from error


def _place(numbers: Sequence[str]) -> str:
    """The pattern of `numbers`: its digits are those of one with leading zeros, or the fewest."""
    first = min(numbers, key=lambda number: (not number.startswith("0"), len(number)))
    return f"{{:0{len(first)}d}}"


def _numbered(path: pathlib.Path) -> dict[int, str]:
    """Number -> file name, in order, of the files that match a path with a pattern."""
    place = _PLACE.search(path.name)
    assert place is not None
    before, after = path.name[: place.start()], path.name[place.end() :]
    form = re.compile(f"{re.escape(before)}(\\d{{{place[1]},}}){re.escape(after)}")
    matches = filter(None, map(form.fullmatch, os.listdir(path.parent)))
    return dict(sorted((int(match[1]), match[0]) for match in matches))
