"""The routes of the server."""

import functools
import hashlib
import pathlib
import time
from collections.abc import Sequence

import anyio
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tokmerge_jax import runtime
from tokmerge_jax.own_videos.ranking import Hit
from tokmerge_jax.serving import answers, parameters
from tokmerge_jax.serving.batching import FullError
from tokmerge_jax.serving.engine import Engine, UnreadableError
from tokmerge_jax.serving.files import located, response
from tokmerge_jax.serving.thumbnails import thumbnail
from tokmerge_jax.types import UserError

_PAGE = pathlib.Path(__file__).parent / "page"
_KEPT = "private, max-age=3600"
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


class Routes:
    """The functions behind the routes."""

    def __init__(self, engine: Engine) -> None:
        """Takes the index."""
        self._engine, self._version = engine, runtime.versions()["tokmerge_jax"]
        self._page = {
            file.name: file.read_bytes() for file in _PAGE.iterdir() if file.suffix in _TYPES
        }

    async def index(self, request: Request) -> Response:
        """The page."""
        parameters.read(request.scope["query_string"], parameters.Nothing)
        return self._of_page("index.html")

    async def page(self, request: Request) -> Response:
        """A file of the page."""
        parameters.read(request.scope["query_string"], parameters.Nothing)
        return self._of_page(request.path_params["name"])

    def _of_page(self, name: str) -> Response:
        if name not in self._page:
            raise HTTPException(404, "the page has no such file")
        return Response(self._page[name], media_type=_TYPES[pathlib.Path(name).suffix])

    async def search(self, request: Request) -> Response:
        """Searches by texts."""
        asked = parameters.read(request.scope["query_string"], parameters.Search)
        begun = time.perf_counter()
        rankings = await self._engine.search(
            asked.q, asked.offset + asked.limit, asked.rerank, asked.where
        )
        queries = [
            answers.TextRanking(query=text, **vars(self._part(hits, asked)))
            for text, hits in zip(asked.q, rankings, strict=True)
        ]
        return _json(answers.Rankings(queries=queries, seconds=_since(begun)))

    def _part(self, hits: Sequence[Hit], asked: parameters.Selection) -> answers.Ranking:
        """The hits that were asked for, and whether there are more."""
        end = asked.offset + asked.limit
        moments = [
            answers.moment(hit, self._engine.catalogue.name(hit.path))
            for hit in hits[asked.offset : end]
        ]
        return answers.Ranking(hits=moments, more=len(hits) > end)

    async def video(self, request: Request) -> Response:
        """The file of a video."""
        parameters.read(request.scope["query_string"], parameters.Nothing)
        return response(*await self._located(request))

    async def thumbnail(self, request: Request) -> Response:
        """A frame of a video."""
        asked = parameters.read(request.scope["query_string"], parameters.Still)
        file, state = await self._located(request)
        stamp = state.st_size, state.st_mtime_ns
        tag = hashlib.blake2b(repr((stamp, asked)).encode(), digest_size=8).hexdigest()
        headers = {"etag": f'"{tag}"', "cache-control": _KEPT}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        try:
            picture = await anyio.to_thread.run_sync(
                thumbnail, str(file), stamp, asked.at, asked.width
            )
        except UserError as error:
            raise HTTPException(404, "the video cannot be decoded") from error
        return Response(picture, media_type="image/jpeg", headers=headers)

    async def _located(self, request: Request):
        name, catalogue = request.path_params["id"], self._engine.catalogue
        path = await anyio.to_thread.run_sync(catalogue.path, name)
        if path is None:
            raise HTTPException(404, "the index holds no such video")
        return await anyio.to_thread.run_sync(located, self._engine.searcher.folder, path)

    async def health(self, request: Request) -> Response:
        """The state of the server and of its index."""
        parameters.read(request.scope["query_string"], parameters.Nothing)
        held = await anyio.to_thread.run_sync(self._engine.catalogue.reading)
        return _json(
            answers.Health(
                status="ready" if held.windows else "empty",
                videos=held.videos,
                windows=held.windows,
                broken=held.broken,
                system=self._engine.system,
                reranks=self._engine.searcher.reranked > 0,
                version=self._version,
                folders=[*map(answers.text, held.folders)],
                indexing=None,
            )
        )


def application(engine: Engine) -> Starlette:
    """The server's application."""
    routes = Routes(engine)
    return Starlette(
        routes=[
            Route("/", routes.index),
            Route("/page/{name}", routes.page),
            Route("/search", routes.search),
            Route("/videos/{id}", routes.video),
            Route("/thumbnail/{id}", routes.thumbnail),
            Route("/health", routes.health),
        ],
        exception_handlers={
            HTTPException: _refused,
            UserError: _mistaken,
            FullError: functools.partial(_busy, reason="too many requests are waiting; try again"),
            UnreadableError: functools.partial(
                _busy, reason="the index cannot be read for now; the server's output says why"
            ),
        },
    )


def _json(answer: BaseModel, status: int = 200, **headers: str) -> Response:
    return Response(answer.model_dump_json(), status, headers, "application/json")


def _since(begun: float) -> float:
    return round(time.perf_counter() - begun, 4)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json(answers.Problem(error=error.detail), error.status_code, **(error.headers or {}))


async def _mistaken(_: Request, error: Exception) -> Response:
    return _json(answers.Problem(error=str(error)), 400)


async def _busy(_: Request, error: Exception, reason: str) -> Response:
    del error
    return _json(answers.Problem(error=reason), 503, **{"retry-after": "1"})
