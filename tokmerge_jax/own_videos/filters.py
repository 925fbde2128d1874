"""Conditions that hits must meet."""

import dataclasses
import datetime
import math
import os
import pathlib

from tokmerge_jax.types import UserError

_YEARS = range(1700, 2262)  # their nanoseconds fit into 64 bits


@dataclasses.dataclass(frozen=True)
class Filter:
    """A condition on the videos of hits; its default is true for all.

    Attributes:
      folder: a folder below the indexed one that must hold the file, itself or in a subfolder.
      since: the first day, in local time, on which the file may have been changed last.
      until: the last such day.
      shortest: the least duration of the video in seconds.
      longest: the largest such duration; 0 = any.

    Raises:
      UserError: if a day or a duration is out of range.
    """

    folder: str = ""
    since: datetime.date | None = None
    until: datetime.date | None = None
    shortest: int | float = 0
    longest: int | float = 0

    def __post_init__(self) -> None:
        for name, day in (("since", self.since), ("until", self.until)):
            if day is not None and day.year not in _YEARS:
                raise UserError(
                    f"{name}={day} must be in the years {_YEARS[0]} to {_YEARS[-1]}; leave it out"
                    " for any day"
                )
        for name, seconds in (("shortest", self.shortest), ("longest", self.longest)):
            if not 0 <= seconds < math.inf:
                raise UserError(
                    f"{name}={seconds} must be a number of seconds; leave it out for any duration"
                )

    def sql(self) -> str:
        """The condition on the columns of `own_videos.table`; "" if it is always true."""
        parts = []
        folder = os.fsencode(pathlib.PurePath(self.folder))
        if folder != b".":
            first, after = folder + b"/", folder + bytes([ord("/") + 1])  # all between are inside
            parts.append(f"path > X'{first.hex()}' AND path < X'{after.hex()}'")
        if self.since is not None:
            parts.append(f"modified >= {_nanoseconds(self.since)}")
        if self.until is not None:
            parts.append(f"modified < {_nanoseconds(self.until + datetime.timedelta(days=1))}")
        if self.shortest:
            parts.append(f"duration >= {float(self.shortest)}")
        if self.longest:
            parts.append(f"duration <= {float(self.longest)}")
        return " AND ".join(parts)


EVERYTHING = Filter()
"""The condition that is always true."""


def _nanoseconds(day: datetime.date) -> int:
    """The beginning of a day in local time, in nanoseconds of Unix time."""
    return int(datetime.datetime.combine(day, datetime.time()).timestamp()) * 10**9
