"""Runs the server in this process until it is stopped."""

import pathlib
import re
import signal
import socket
import urllib.parse

import uvicorn

from tokmerge_jax import disk
from tokmerge_jax.serving.app import application
from tokmerge_jax.serving.connections import Connection
from tokmerge_jax.serving.service import Service
from tokmerge_jax.types import UserError

_CONNECTIONS = 1000
_TOKEN = re.compile(r"[\w.~+/=-]{16,}", re.ASCII)
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


def address(listening: socket.socket, token: str | None) -> str:
    """The address of the page, with the token if there is one."""
    host, port = listening.getsockname()[:2]
    place = f"[{host}]" if ":" in host else host
    query = f"?{urllib.parse.urlencode({'token': token})}" if token else ""
    return f"http://{place}:{port}/{query}"


def read_token(file: str) -> str:
    """Reads a token from a file.

    Raises:
      UserError: if there is no such file, or what it holds is too short or not usable.
    """
    content = disk.read(pathlib.Path(file))
    if content is None:
        raise UserError(f"--token-file={file}: no such file; write a token into it")
    token = content.decode("latin-1").strip()
    if not _TOKEN.fullmatch(token):
        raise UserError(
            f"--token-file={file} must hold one token of 16 or more letters, digits and ._~+/=-"
        )
    return token


def serve(service: Service, listening: socket.socket, token: str | None) -> None:
    """Answers requests until Ctrl-C or SIGTERM.

    Args:
      service: what answers.
      listening: the result of `listen`.
      token: the token that requests have to give; None = those from this machine need none.
    """
    config = uvicorn.Config(
        application(service, token),
        loop="asyncio",
        http=Connection,
        ws="none",
        log_level="error",
        access_log=False,  # addresses may hold the token
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_ENDING,
    )
    for stop in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again after its end
        signal.signal(stop, lambda *_: None)
    uvicorn.Server(config).run([listening])
