"""What a request has to pass before it is answered."""

import abc
import collections
import hashlib
import math
import secrets
import time
from collections.abc import Callable, Sequence

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tokmerge_jax.serving.problems import Sentences, problem

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
"""The names by which a browser on this machine calls it; other names may be a stranger's."""

_BODY = 64 * 2**20  # bytes of a request
_RATE, _BURST = 200, 2000  # requests per second of a client, and at once after a rest
_CLIENTS = 10_000  # whose rates are known
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:;"
    " media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def middleware(token: str | None) -> Sequence[Middleware]:
    """All that a request passes, in order.

    Args:
      token: the token that requests have to give; None = requests to this machine's own names are
        answered without one.
    """
    access = (
        Middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK, www_redirect=False)
        if token is None
        else Middleware(Token, token=token)
    )
    return [
        Middleware(Marked),
        Middleware(Sentences),
        Middleware(Rate),
        Middleware(RequestBodyLimitMiddleware, max_body_size=_BODY),
        access,
        Middleware(Origin),
    ]


class Marked:
    """Adds headers that keep the answers from other sites."""

    def __init__(self, app: ASGIApp) -> None:
        """Takes what answers."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, marked)


class Gate(abc.ABC):
    """Answers a request unless there is a reason not to."""

    def __init__(self, app: ASGIApp) -> None:
        """Takes what answers."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        refusal = self.refusal(Request(scope)) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    @abc.abstractmethod
    def refusal(self, request: Request) -> Response | None:
        """The answer to a request that does not pass; None if it does."""


class Origin(Gate):
    """Refuses what other sites make a browser send."""

    def refusal(self, request: Request) -> Response | None:
        """Refuses another `Origin`, or a request that a browser reports as another site's."""
        headers = request.headers
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        opened = headers.get("sec-fetch-dest") == "document"
        own = origin is None or origin.partition("://")[2] == headers.get("host")
        if own and (site != "cross-site" or opened):
            return None
        return problem(403, "requests of other sites are refused")


class Rate(Gate):
    """Refuses clients that ask too often."""

    def __init__(self, app: ASGIApp, clock: Callable[[], float] = time.monotonic) -> None:
        """Takes what answers, and a clock in seconds."""
        super().__init__(app)
        self._clock = clock
        self._due = collections.OrderedDict[str, float]()

    def refusal(self, request: Request) -> Response | None:
        """Counts a request, and refuses it if its client is a burst ahead of the rate.

        `due` is the time at which a client that keeps to the rate would send its next request; each
        request moves it on by 1. Times are in units of 1/rate.
        """
        client, now = request.client.host if request.client else "", self._clock() * _RATE
        due = max(self._due.get(client, now), now) + 1
        wait = (due - now - _BURST) / _RATE
        if wait > 0:
            again = {"retry-after": str(math.ceil(wait))}
            return problem(429, "too many requests; wait a moment", again)
        self._due[client] = due
        self._due.move_to_end(client)
        if len(self._due) > _CLIENTS:
            self._due.popitem(last=False)
        return None


class Token(Gate):
    """Refuses requests without the token; an address with it sets a cookie."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        """Takes what answers, and the token."""
        super().__init__(app)
        self._token = token
        known = hashlib.blake2b(token.encode(), digest_size=4).hexdigest()
        self._cookie = f"tokmerge_{known}"  # browsers keep one of a name for all ports of a host

    def refusal(self, request: Request) -> Response | None:
        """Looks for the token in the headers, a cookie and, for the page, in the address."""
        given = request.query_params.get("token")
        if request.scope["path"] == "/" and given is not None and self._is_it(given):
            page, secure = RedirectResponse("/", 303), request.scope["scheme"] == "https"
            page.set_cookie(
                self._cookie, self._token, httponly=True, samesite="strict", secure=secure
            )
            return page
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_it(given.strip()):
            return None
        if self._is_it(request.cookies.get(self._cookie, "")):
            return None
        sentence = "a token is needed; open the address that the server printed, or send it"
        return problem(401, sentence, {"www-authenticate": "Bearer"})

    def _is_it(self, given: str) -> bool:
        return secrets.compare_digest(given.encode("utf-8", "replace"), self._token.encode())
