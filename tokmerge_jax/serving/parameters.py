"""The parameters of requests, which the OpenAPI document describes too."""

import datetime
import typing
import urllib.parse
from collections.abc import Mapping
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from tokmerge_jax.own_videos.filters import Filter
from tokmerge_jax.types import UserError

DEEPEST = 10_000
"""The largest rank of a hit that can be asked for."""

_MOST = 200  # hits in an answer
_TEXTS, _LETTERS = 16, 1000  # of a request, and of a text
_FIELDS = 64  # parameters of a request
_FAULTS = {"missing": "it is missing", "extra_forbidden": "it is unknown here, see /openapi.json"}

Day = Annotated[datetime.date, BeforeValidator(datetime.date.fromisoformat)]
Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class Parameters(BaseModel, extra="forbid"):
    """The parameters of a request; others are refused."""


M = TypeVar("M", bound=Parameters)


class Selection(Parameters):
    """Which hits an answer holds."""

    limit: int = Field(50, ge=1, le=_MOST, description="number of hits, at most")
    offset: int = Field(0, ge=0, description="number of better hits to leave out")
    folder: str = Field("", max_length=4096, description="only videos in this subfolder")
    since: Day | None = Field(None, description="only files changed on this day or later")
    until: Day | None = Field(None, description="only files changed on this day or earlier")
    shortest: Seconds = Field(0.0, description="least duration of a video in seconds")
    longest: Seconds = Field(0.0, description="largest duration of a video in seconds; 0 = any")

    @model_validator(mode="after")
    def _is_within_reach(self) -> "Selection":
        if self.end > DEEPEST:
            raise ValueError(f"offset + limit must be at most {DEEPEST}")
        return self

    @property
    def end(self) -> int:
        """The largest rank of a hit in the answer."""
        return self.offset + self.limit

    @property
    def where(self) -> Filter:
        """The condition on videos.

        Raises:
          UserError: if a day is out of range.
        """
        return Filter(self.folder, self.since, self.until, self.shortest, self.longest)


class Search(Selection):
    """The parameters of a search by texts."""

    q: list[Annotated[str, Field(max_length=_LETTERS)]] = Field(
        min_length=1, max_length=_TEXTS, description="a text; may be repeated"
    )
    rerank: bool = Field(False, description="whether the matching head ranks the best hits")


class Similar(Selection):
    """The parameters of a search for moments like one of an answer."""

    id: str = Field(description="the video of the moment")
    start: Seconds = Field(description="start of the moment in seconds")
    stop: Seconds = Field(description="its end in seconds")


class Still(Parameters):
    """The parameters of a thumbnail."""

    at: Seconds = Field(0.0, description="the time in seconds")
    width: int = Field(320, ge=16, le=1280, description="the largest width in pixels")


def read(query: bytes, kind: type[M]) -> M:
    """Reads the parameters of a request.

    Args:
      query: the part of its address after "?".
      kind: the parameters that it takes.

    Raises:
      UserError: if one is unknown, missing, repeated or out of range, or not valid UTF-8.
    """
    try:
        pairs = urllib.parse.parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(query),
            errors="strict",
            max_num_fields=_FIELDS,
        )
    except ValueError as error:
        raise UserError(f"the parameters cannot be read: {error}; encode them as UTF-8") from error
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return checked(kind, {name: _one(kind, name, given) for name, given in values.items()})


def checked(kind: type[M], values: Mapping[str, object]) -> M:
    """Parameters of these values.

    Raises:
      UserError: if one is unknown, missing or out of range.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = "".join(map(str, first["loc"][:1]))
        fault = _FAULTS.get(first["type"], first["msg"].removeprefix("Value error, "))
        raise UserError(f"{name}: {fault}".removeprefix(": ")) from error


def _one(kind: type[Parameters], name: str, given: list[str]) -> str | list[str]:
    """The value of a parameter, which only lists may have several of."""
    field = kind.model_fields.get(name)
    if field is not None and typing.get_origin(field.annotation) is list:
        return given
    if len(given) > 1:
        raise UserError(f"{name} is given {len(given)} times; give it once")
    return given[0]
