"""Faults of single videos: any exception becomes a result, so one bad file ends no job."""

import dataclasses
import errno
from collections.abc import Callable
from typing import TypeVar

from tokmerge_jax import disk
from tokmerge_jax.types import UserError

T = TypeVar("T")
R = TypeVar("R")

_LONGEST = 200  # characters of a library's message that are shown
_CURE = "; replace the file or leave it out"
_FEWER = ", or use fewer workers (config.data.workers)"


@dataclasses.dataclass(frozen=True)
class Fault:
    """Why a video cannot be used.

    Attributes:
      text: one sentence that names the video.
    """

    text: str


def attempt(make: Callable[[T], R], name: Callable[[T], str], item: T) -> R | Fault:
    """Returns `make(item)`, or the fault if it raises: the only place that makes faults.

    Args:
      make: for example, decodes a video.
      name: the name of an item's video, for errors that do not name it.
      item: the argument of `make`.

    Raises:
      disk.RefusedError: if no more files can be opened, which is not the video's fault.
    """
    try:
        return make(item)
    except Exception as error:  # at a damaged file, libraries raise anything, even MemoryError
        disk.raise_shortage(error)
        if isinstance(error, UserError):
            text, cause = str(error), error.__cause__
        else:
            said = " ".join(str(error).split())[:_LONGEST]
            what = f"{type(error).__name__}: {said}" if said else type(error).__name__
            text, cause = f"{name(item)}: cannot be decoded ({what}){_CURE}", error
        if cause is not None and disk.refusal(cause) == errno.ENOMEM:  # large videos need much
            text = text.removesuffix(_CURE) + _CURE + _FEWER
        return Fault(text)
