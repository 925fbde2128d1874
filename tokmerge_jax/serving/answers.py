"""The answers of the server, which the OpenAPI document describes too."""

import os

from pydantic import BaseModel, Field

from tokmerge_jax.own_videos.ranking import Hit


class Moment(BaseModel):
    """A hit: a moment of a video, or all of it."""

    id: str = Field(description="the video")
    path: str = Field(description="its path below the indexed folder")
    start: float = Field(description="start of the moment in seconds")
    stop: float = Field(description="its end in seconds")
    duration: float = Field(description="length of the video in seconds")
    cosine: float = Field(description="similarity of the moment and the query")
    score: float | None = Field(description="score of the matching head, if it ranked the moment")
    whole: bool = Field(description="whether the moment is the whole video")
    video: str = Field(description="address of the video")
    thumbnail: str = Field(description="address of a frame in the middle of the moment")


class Ranking(BaseModel):
    """A part of the hits of a query, best first."""

    hits: list[Moment]
    more: bool = Field(description="whether there are further hits")


class TextRanking(Ranking):
    """A part of the hits of a text."""

    query: str


class Rankings(BaseModel):
    """The answer of a search by texts."""

    queries: list[TextRanking]
    seconds: float = Field(description="time that the search took")


class SimilarRanking(Ranking):
    """The answer of a search by a moment, a picture or a clip."""

    seconds: float = Field(description="time that the search took")


class Progress(BaseModel):
    """The progress of a run that indexes."""

    done: int = Field(description="number of videos that are indexed")
    total: int = Field(description="number of videos")
    seconds_left: float | None


class Health(BaseModel):
    """The state of the server and of its index."""

    status: str = Field(description='"ready", or "empty" while nothing can be found')
    videos: int = Field(description="number of videos that are completely indexed")
    windows: int = Field(description="number of windows that can be found")
    broken: int = Field(description="number of videos that cannot be used, or only in part")
    system: str
    reranks: bool = Field(description="whether a matching head can rank hits")
    version: str
    folders: list[str] = Field(
        description="folders with videos below the indexed one, some of them"
    )
    indexing: Progress | None


class Problem(BaseModel):
    """The answer to a request that cannot be served."""

    error: str = Field(description="one sentence")


def moment(hit: Hit, name: str) -> Moment:
    """The answer for a hit in the video with this ID."""
    middle = round((hit.start + hit.stop) / 2, 3)
    return Moment(
        id=name,
        path=text(hit.path),
        start=hit.start,
        stop=hit.stop,
        duration=hit.duration,
        cosine=hit.cosine,
        score=hit.score,
        whole=hit.start == 0 and hit.stop == hit.duration,
        video=f"/videos/{name}",
        thumbnail=f"/thumbnail/{name}?at={middle}",
    )


def text(path: str) -> str:
    """A path as text; bytes that are none are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
