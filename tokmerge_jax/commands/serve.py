"""Serves an index: search in a browser, an API over HTTP, tools for assistants.

Examples:
  tokmerge serve --index clips_index
  tokmerge serve --index clips_index --port 8080

The address that is printed opens the page; docs/serving.md describes the API. The index may grow
meanwhile. Only this machine reaches the server. Ctrl-C ends it.
"""

import pathlib

from absl import flags

from tokmerge_jax import command_line
from tokmerge_jax.types import UserError

_INDEX = flags.DEFINE_string("index", None, "the folder of the index")
_PORT = flags.DEFINE_integer("port", 8000, "0 = any", lower_bound=0, upper_bound=2**16 - 1)
_HOST = "127.0.0.1"


def main(arguments: list[str]) -> None:
    """Opens the index and answers requests."""
    if arguments:
        raise UserError(f"unknown argument {arguments[0]!r}; options begin with --, see --help")
    if not _INDEX.value:
        raise UserError("--index is missing; name the folder of the index, see --help")
    try:
        from tokmerge_jax.serving import engine, server
    except ModuleNotFoundError as error:
        raise UserError(
            f"serve needs the package {error.name}, which is not installed: pip install starlette"
            " uvicorn mcp (or tokmerge_jax with its extra, -e '.[serve]')"
        ) from error
    with server.listen(_HOST, _PORT.value) as listening:
        opened = engine.Engine(pathlib.Path(_INDEX.value))
        host, port = listening.getsockname()[:2]
        print(f"Search at http://{host}:{port}/ (Ctrl-C ends it)", flush=True)
        server.serve(opened, listening)
    print("Stopped.")


def run() -> None:
    """Runs the command."""
    command_line.run_commands(main)
