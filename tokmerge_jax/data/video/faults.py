"""Faults of single videos: a result like any other, whatever was raised."""

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
    """`make(item)`, or why it failed: the only place where exceptions become faults.

    Args:
      make: decodes a video, say.
      name: what the video of an item is called, for errors that do not name it.
      item: what `make` takes.

    Raises:
      disk.RefusedError: if no more files can be opened, which is no video's fault.
    """
    try:
        return make(item)
    except Exception as error:  # libraries raise of every kind at a damaged file, MemoryError too
        disk.raise_shortage(error)
        text = str(error) if isinstance(error, UserError) else _sentence(error, name(item))
        return Fault(text.removesuffix(_CURE) + _CURE + _FEWER if _lacks_memory(error) else text)


def _sentence(error: Exception, video: str) -> str:
    said = " ".join(str(error).split())[:_LONGEST]
    what = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return f"{video}: cannot be decoded ({what}){_CURE}"


def _lacks_memory(error: BaseException) -> bool:
    """Whether memory was short; a large video needs much of it, so the video may be at fault."""
    cause = error.__cause__ if isinstance(error, UserError) else error
    return cause is not None and disk.refusal(cause) == errno.ENOMEM
