"""The files of videos, inside the indexed folder alone."""

import contextlib
import os
import pathlib
import stat
from typing import BinaryIO

_GONE = "the video is gone, or lies outside the indexed folder"
_HERE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # no link, and no wait for a pipe


class MissingError(Exception):
    """What a request names is not there."""


def located(folder: pathlib.Path, path: str) -> tuple[pathlib.Path, os.stat_result]:
    """Returns a video's file, links resolved, and its state.

    Args:
      folder: the indexed folder.
      path: path below it, from the table, which a stranger may have made.

    Raises:
      MissingError: if there is no regular file that can be read, or links lead outside the folder.
    """
    try:
        file = (folder / path).resolve(strict=True)
        state = file.stat()
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a loop of links
        raise MissingError(_GONE) from error
    inside = file.is_relative_to(folder.resolve())
    if not inside or not stat.S_ISREG(state.st_mode) or not os.access(file, os.R_OK):
        raise MissingError(_GONE)
    return file, state


def name_of(file: BinaryIO) -> str:
    """A name of what is open, whatever has become of the path that it was opened by."""
    return f"/dev/fd/{file.fileno()}"


def opened(folder: pathlib.Path, path: str) -> BinaryIO:
    """Opens a video's file, as `located`, also if links take the place of names meanwhile.

    Whoever may write into the folder could otherwise have any file sent that this process may read.
    """
    file, _ = located(folder, path)
    inside, place = folder.resolve(), None
    with contextlib.ExitStack() as above:
        for name in (inside, *file.relative_to(inside).parts):
            try:
                place = os.open(name, _HERE, dir_fd=place)
            except OSError as error:
                raise MissingError(_GONE) from error
            above.callback(os.close, place)
        if place is None or not stat.S_ISREG(os.fstat(place).st_mode):
            raise MissingError(_GONE)
        return os.fdopen(os.dup(place), "rb")
