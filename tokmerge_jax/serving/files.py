"""The files of videos: what an ID stands for, inside the indexed folder alone."""

import os
import pathlib
import stat

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse

_GONE = "the video is gone, or lies outside the indexed folder"


def located(folder: pathlib.Path, path: str) -> tuple[pathlib.Path, os.stat_result]:
    """Returns a video's file, links resolved, and its state.

    Args:
      folder: the indexed folder.
      path: path below it, from the table, which a stranger may have made.

    Raises:
      HTTPException: 404 if there is no regular file, or links lead outside the folder.
    """
    try:
        file = (folder / path).resolve(strict=True)
        state = file.stat()
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a loop of links
        raise HTTPException(404, _GONE) from error
    if not file.is_relative_to(folder.resolve()) or not stat.S_ISREG(state.st_mode):
        raise HTTPException(404, _GONE)
    return file, state


def response(file: pathlib.Path, state: os.stat_result) -> FileResponse:
    """The answer with the bytes of a video, or the ranges that are asked for."""
    sent = FileResponse(file, stat_result=state, headers={"cache-control": "private, no-cache"})
    if not sent.headers["content-type"].startswith(("video/", "image/")):
        sent.headers["content-type"] = "application/octet-stream"
    return sent
