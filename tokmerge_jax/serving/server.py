"""Runs the server in this process until it is stopped."""

import signal
import socket

import uvicorn

from tokmerge_jax.serving.app import application
from tokmerge_jax.serving.engine import Engine
from tokmerge_jax.types import UserError

_CONNECTIONS = 1000
_ENDING = 5  # seconds for requests to end


def listen(host: str, port: int) -> socket.socket:
    """Returns a socket that listens at an address.

    Raises:
      UserError: if the address is in use, or is not this machine's.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, OverflowError) as error:
        raise UserError(
            f"--host={host} --port={port}: {error}; choose another port or host"
        ) from error


def serve(engine: Engine, listening: socket.socket) -> None:
    """Answers requests until Ctrl-C or SIGTERM."""
    config = uvicorn.Config(
        application(engine),
        loop="asyncio",
        http="h11",
        ws="none",
        log_level="warning",
        access_log=False,  # addresses may hold the token
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_ENDING,
    )
    for stop in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again after its end
        signal.signal(stop, lambda *_: None)
    uvicorn.Server(config).run([listening])
