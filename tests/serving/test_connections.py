"""Connections that wait: for requests that never come, and for answers that take long."""

import asyncio

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from uvicorn.server import ServerState

from tokmerge_jax.serving import connections

WAIT = 0.2  # seconds
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def reply(_):
    await asyncio.sleep(2 * WAIT)  # longer than a request may take to arrive
    return PlainTextResponse("in")


def received(*parts):
    """What a client receives until the server ends the connection."""

    async def main():
        app = Starlette(routes=[Route("/", reply)])
        config, state = uvicorn.Config(app, ws="none", log_level="error"), ServerState()
        loop = asyncio.get_running_loop()
        made = await loop.create_server(
            lambda: connections.Connection(config, state, {}), "127.0.0.1", 0
        )
        reader, writer = await asyncio.open_connection(*made.sockets[0].getsockname())
        try:
            async with asyncio.timeout(20 * WAIT):
                for part in parts:
                    writer.write(part)
                    await asyncio.sleep(0.9 * WAIT / len(parts))
                everything = await reader.read()
        except ConnectionError:  # a slow machine: it ended before the last part was sent
            everything = b""
        finally:
            writer.close()
            made.close()
        assert not state.connections
        return everything

    return asyncio.run(main())


@pytest.mark.parametrize(
    "parts", [[], [b"GET / HTTP/1.1\r\nHost: "], [REQUEST[at : at + 1] for at in range(30)]]
)
def test_a_request_that_does_not_arrive_ends_the_connection(parts, monkeypatch):
    monkeypatch.setattr(connections, "_WAIT", WAIT)
    assert received(*parts) == b""


def test_a_request_is_answered_however_long_that_takes(monkeypatch):
    monkeypatch.setattr(connections, "_WAIT", WAIT)
    for next_one in (b"", b"GET / HT"):
        answer = received(REQUEST, next_one)
        assert (answer.count(b"HTTP/1.1 200"), answer[-2:]) == (1, b"in")
