"""The files of videos, inside the indexed folder alone."""

import os
import pathlib
import stat

_GONE = "the video is gone, or lies outside the indexed folder"


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
