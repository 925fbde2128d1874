"""Serves an index: search in a browser, an API over HTTP, tools for assistants.

Examples:
  tokmerge serve --index clips_index
  tokmerge serve --index clips_index --host 0.0.0.0 --port 8080 --token-file token.txt
  tokmerge serve --index clips_index --mcp

The address that is printed opens the page; docs/serving.md describes the API. The index may grow
meanwhile. Only this machine reaches the server, unless --host is another address of it: then each
request needs a token, that of --token-file or a new one, which is part of the address that is
printed. --mcp serves an assistant that starts this command, instead of listening. Ctrl-C ends it.
"""

import contextlib
import ipaddress
import pathlib
import secrets
from collections.abc import Iterator

from absl import flags

from tokmerge_jax import command_line
from tokmerge_jax.types import UserError

_INDEX = flags.DEFINE_string("index", None, "the folder of the index")
_HOST = flags.DEFINE_string("host", "127.0.0.1", "address to listen at; 0.0.0.0 = all")
_PORT = flags.DEFINE_integer("port", 8000, "0 = any", lower_bound=0, upper_bound=2**16 - 1)
_TOKEN = flags.DEFINE_string("token-file", "", "file with the token that requests have to give")
_MCP = flags.DEFINE_bool("mcp", False, "serve an assistant over stdin and stdout")


def main(arguments: list[str]) -> None:
    """Opens the index and answers requests."""
    if arguments:
        raise UserError(f"unknown argument {arguments[0]!r}; options begin with --, see --help")
    if not _INDEX.value:
        raise UserError("--index is missing; name the folder of the index, see --help")
    for flag in (_HOST, _PORT, _TOKEN):
        if _MCP.value and flags.FLAGS[flag.name].present:
            raise UserError(f"--mcp takes no --{flag.name}; it serves the program that starts it")
    place = pathlib.Path(_INDEX.value)
    with contextlib.suppress(KeyboardInterrupt):
        _assist(place) if _MCP.value else _listen(place)


def _assist(place: pathlib.Path) -> None:
    with _named():
        from tokmerge_jax.serving import assistants, service
    assistants.tools(service.Service(place)).run()


def _listen(place: pathlib.Path) -> None:
    with _named():
        from tokmerge_jax.serving import server, service
    with server.listen(_HOST.value, _PORT.value) as listening:
        token = server.read_token(_TOKEN.value) if _TOKEN.value else None
        if token is None and not ipaddress.ip_address(listening.getsockname()[0]).is_loopback:
            token = secrets.token_urlsafe()
        opened = service.Service(place)
        print(f"Search at {server.address(listening, token)} (Ctrl-C ends it)", flush=True)
        server.serve(opened, listening, token)
    print("Stopped.")


@contextlib.contextmanager
def _named() -> Iterator[None]:
    """Raises UserError for a package that not every user has."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(
            f"serve needs the package {error.name}, which is not installed: pip install starlette"
            " uvicorn mcp pylance (or tokmerge_jax with its extra, -e '.[serve]')"
        ) from error


def run() -> None:
    """Runs the command."""
    command_line.run_commands(main)
