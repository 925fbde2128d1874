"""Faults of single videos: a result like any other, whatever was raised."""

import dataclasses
from collections.abc import Callable
from typing import TypeVar

from tokmerge_jax.types import UserError

T = TypeVar("T")
R = TypeVar("R")

_LONGEST = 200  # characters of a library's message that are shown


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
    """
    try:
        return make(item)
    except UserError as error:
        return Fault(str(error))
    except Exception as error:  # libraries raise of every kind at a damaged file, MemoryError too
        said = " ".join(str(error).split())[:_LONGEST]
        what = f"{type(error).__name__}: {said}" if said else type(error).__name__
        return Fault(f"{name(item)}: cannot be decoded ({what}); replace the file or leave it out")
