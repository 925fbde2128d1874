"""The HTTP application: addresses, and what each reads from a request."""

import asyncio
import contextlib
import hashlib
import mimetypes
import os
import pathlib
import tempfile
from collections.abc import AsyncIterator
from typing import BinaryIO

import anyio
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tokmerge_jax import disk, runtime
from tokmerge_jax.serving import answers, guard, problems
from tokmerge_jax.serving.batching import FullError
from tokmerge_jax.serving.files import MissingError, name_of
from tokmerge_jax.serving.openapi import Operation, document
from tokmerge_jax.serving.parameters import M, Parameters, Search, Selection, Similar, Still, read
from tokmerge_jax.serving.service import Service
from tokmerge_jax.serving.thumbnails import Source
from tokmerge_jax.types import UserError

_PAGE = pathlib.Path(__file__).parent / "page"
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_SHOWN = ("video/*", "image/*")
_OTHER = "application/octet-stream"
_UPLOAD = 60.0  # seconds that a body may take
_UPLOADS = 4  # that are received or compared at a time
_KEPT = "private, max-age=3600"


def application(service: Service, token: str | None = None) -> Starlette:
    """The application.

    Args:
      service: what answers.
      token: the token that requests have to give; None = those from this machine need none.
    """
    routes = _Routes(service)
    return Starlette(
        routes=[Route(each.path, each.run, methods=[each.method]) for each in routes.operations],
        middleware=guard.middleware(token),
        exception_handlers=problems.HANDLERS,
    )


class _Routes:
    """The operations, and the functions behind them."""

    def __init__(self, service: Service) -> None:
        self._service, self._uploads = service, asyncio.Semaphore(_UPLOADS)
        self._page = {
            file.name: file.read_bytes() for file in _PAGE.iterdir() if file.suffix in _TYPES
        }
        ranked = answers.SimilarRanking
        self.operations = [
            Operation("GET", "/", self.index, "text/html"),
            Operation("GET", "/page/{name}", self.page, _OTHER),
            Operation("GET", "/search", self.search, answers.Rankings, Search),
            Operation("GET", "/similar", self.similar, ranked, Similar),
            Operation("POST", "/similar", self.similar_to_file, ranked, Selection, _SHOWN),
            Operation("GET", "/videos/{id}", self.video, _OTHER),
            Operation("GET", "/thumbnail/{id}", self.thumbnail, "image/jpeg", Still),
            Operation("GET", "/health", self.health, answers.Health),
            Operation("GET", "/openapi.json", self.openapi, "application/json"),
        ]
        self._document = document(self.operations, runtime.versions()["tokmerge_jax"])

    async def index(self, _: Request) -> Response:
        """The page."""
        return self._of_page("index.html")

    async def page(self, request: Request) -> Response:
        """A file of the page."""
        _parameters(request, Parameters)
        return self._of_page(request.path_params["name"])

    def _of_page(self, name: str) -> Response:
        if name not in self._page:
            raise MissingError("the page has no such file")
        kind = _TYPES[pathlib.Path(name).suffix]
        return Response(self._page[name], media_type=kind, headers={"cache-control": "no-cache"})

    async def search(self, request: Request) -> Response:
        """Moments that fit texts, best first."""
        return _json(await self._service.search(_parameters(request, Search)))

    async def similar(self, request: Request) -> Response:
        """Moments that are similar to one of an answer."""
        return _json(await self._service.similar(_parameters(request, Similar)))

    async def similar_to_file(self, request: Request) -> Response:
        """Moments that are similar to a picture or a clip, the body of the request."""
        asked = _parameters(request, Selection)
        if not request.headers.get("content-type", "").startswith(("video/", "image/")):
            raise HTTPException(
                415, "the body must be a picture or a clip: Content-Type image/* or video/*"
            )
        if self._uploads.locked():
            raise FullError
        async with self._uploads, _kept(request) as file:
            try:
                return _json(await self._service.similar_to_file(file, asked))
            except UserError as error:
                raise UserError(str(error).replace(str(file), "the body")) from error

    async def video(self, request: Request) -> Response:
        """The file of a video, or ranges of its bytes."""
        _parameters(request, Parameters)
        return _Video(*await self._service.video(request.path_params["id"]))

    async def thumbnail(self, request: Request) -> Response:
        """A frame of a video."""
        asked = _parameters(request, Still)
        _, file = await self._service.video(request.path_params["id"])
        with file:
            facts = repr((Source.of(file).stamp, asked)).encode()
            tag = f'"{hashlib.blake2b(facts, digest_size=8).hexdigest()}"'
            headers = {"etag": tag, "cache-control": _KEPT}
            if request.headers.get("if-none-match") == tag:
                return Response(status_code=304, headers=headers)
            picture = await self._service.picture(file, asked)
        return Response(picture, media_type="image/jpeg", headers=headers)

    async def health(self, request: Request) -> Response:
        """The state of the index, and of a run that indexes."""
        _parameters(request, Parameters)
        return _json(await self._service.health())

    async def openapi(self, request: Request) -> Response:
        """This document."""
        _parameters(request, Parameters)
        return JSONResponse(self._document)


class _Video(FileResponse):
    """The content of an open file, which is closed at the end."""

    def __init__(self, name: str, file: BinaryIO) -> None:
        kind, _ = mimetypes.guess_type(name)
        super().__init__(
            name_of(file),
            headers={"cache-control": "private, no-cache"},
            media_type=kind if kind and kind.startswith(("video/", "image/")) else _OTHER,
            stat_result=os.fstat(file.fileno()),
        )
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        with self._file:
            await super().__call__(scope, receive, send)


def _parameters(request: Request, kind: type[M]) -> M:
    return read(request.scope["query_string"], kind)


def _json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")


@contextlib.asynccontextmanager
async def _kept(request: Request) -> AsyncIterator[pathlib.Path]:
    """Writes the body of a request to a private file, which is removed at the end.

    Raises:
      HTTPException: if the body is too large, or takes too long.
      RefusedError: if the disk is full.
    """
    with disk.explained(tempfile.gettempdir()), tempfile.NamedTemporaryFile() as file:
        try:
            async with asyncio.timeout(_UPLOAD):
                async for chunk in request.stream():
                    await anyio.to_thread.run_sync(file.write, chunk)
        except TimeoutError as error:
            raise HTTPException(408, "the body took too long") from error
        file.flush()
        yield pathlib.Path(file.name)
