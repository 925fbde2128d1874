"""Connections of clients, which may not stay open without a request."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

_WAIT = 20.0  # seconds until the headers of a request have arrived


class Connection(H11Protocol):
    """A connection that ends if the headers of its next request take too long.

    uvicorn bounds the number of connections, but not how long one waits for the rest of a header.
    Whoever sends none would therefore keep others out, even without the token.
    """

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begins to wait for the first request."""
        super().connection_made(transport)
        self._expect()

    def on_response_complete(self) -> None:
        """Begins to wait for the next request."""
        super().on_response_complete()
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends waiting."""
        super().connection_lost(exc)
        self._stop()

    def _expect(self) -> None:
        self._stop()
        self._late = self.loop.call_later(_WAIT, self._end_unless_busy)

    def _stop(self) -> None:
        if self._late is not None:
            self._late.cancel()

    def _end_unless_busy(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
