"""Errors as answers: one sentence of JSON, whatever refuses a request."""

import sys
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tokmerge_jax.disk import RefusedError
from tokmerge_jax.own_videos.damage import DamageError
from tokmerge_jax.serving.answers import Problem
from tokmerge_jax.serving.batching import FullError
from tokmerge_jax.serving.engine import UnreadableError
from tokmerge_jax.serving.files import MissingError
from tokmerge_jax.types import UserError

_SENTENCES = {
    404: "there is nothing at this address; see /openapi.json",
    405: "this address takes other methods; see /openapi.json",
    413: "the request is too large",
    416: "the range lies outside the file",
}
_UNEXPECTED = "an unexpected error; the output of the server has more"


def problem(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a request that cannot be served."""
    again = {"retry-after": "1"} if status == 503 else {}
    content = Problem(error=sentence).model_dump_json()
    return Response(content, status, {**again, **(headers or {})}, "application/json")


async def _by_starlette(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentence = _SENTENCES.get(error.status_code, error.detail)
    return problem(error.status_code, sentence, error.headers)


async def _mistake(_: Request, error: Exception) -> Response:
    return problem(400, str(error))


async def _ended(_: Request, error: Exception) -> Response:
    del error
    return problem(400, "the request ended early")  # nobody reads it


async def _missing(_: Request, error: Exception) -> Response:
    return problem(404, str(error))


async def _busy(_: Request, error: Exception) -> Response:
    return problem(503, str(error))


async def _unreadable(request: Request, error: Exception) -> Response:
    print(error, file=sys.stderr)  # it names folders, which others need not know
    return await _busy(request, UnreadableError())


async def _unexpected(_: Request, error: Exception) -> Response:
    del error
    return problem(500, _UNEXPECTED)


HANDLERS = {
    HTTPException: _by_starlette,
    ClientDisconnect: _ended,
    UserError: _mistake,
    MissingError: _missing,
    FullError: _busy,
    DamageError: _unreadable,
    RefusedError: _unreadable,
    UnreadableError: _busy,
    Exception: _unexpected,
}
"""Error -> what answers the request that raised it."""


class Sentences:
    """Rewrites the plain texts with which Starlette refuses ranges, hosts and large requests."""

    def __init__(self, app: ASGIApp) -> None:
        """Takes what answers."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        refusal: Message | None = None
        text = b""

        async def rewrite(message: Message) -> None:
            nonlocal refusal, text
            if message["type"] == "http.response.start" and _is_plain(message):
                refusal = message
            elif refusal is None:
                await send(message)
            else:
                text += message.get("body", b"")
                if not message.get("more_body", False):
                    await _rewritten(refusal, text.decode())(scope, receive, send)

        await self._app(scope, receive, rewrite)


def _is_plain(start: Message) -> bool:
    kind = Headers(raw=start["headers"]).get("content-type", "")
    return start["status"] >= 400 and kind.startswith("text/plain")


def _rewritten(start: Message, text: str) -> Response:
    headers = Headers(raw=start["headers"])
    kept = {name: value for name, value in headers.items() if not name.startswith("content-t")}
    kept.pop("content-length", None)
    return problem(start["status"], _SENTENCES.get(start["status"], text), kept)
