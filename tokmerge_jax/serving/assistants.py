"""Tools for assistants, by the Model Context Protocol."""

import contextlib
from collections.abc import Iterator

from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from tokmerge_jax.serving.answers import TextRanking
from tokmerge_jax.serving.batching import FullError
from tokmerge_jax.serving.engine import UnreadableError
from tokmerge_jax.serving.files import MissingError
from tokmerge_jax.serving.parameters import Search, Still, checked
from tokmerge_jax.serving.service import Service
from tokmerge_jax.types import UserError

_INSTRUCTIONS = (
    "Searches the user's own videos by what can be seen in them. Describe a scene in one short"
    " sentence, look at the best moments with show_moment, and name their paths and seconds."
)
_WIDTH = 640  # pixels of a picture


def tools(service: Service) -> MCPServer:
    """A server of the tools, for the service of an index."""
    server = MCPServer("tokmerge", instructions=_INSTRUCTIONS, log_level="ERROR")
    named = _Tools(service)
    server.tool()(named.search_videos)
    server.tool(structured_output=False)(named.show_moment)
    return server


class _Tools:
    """The tools; their docstrings are what assistants read."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def search_videos(
        self,
        query: str,
        *,
        limit: int = 10,
        offset: int = 0,
        folder: str = "",
        since: str | None = None,
        until: str | None = None,
        shortest: float = 0,
        longest: float = 0,
        rerank: bool = False,
    ) -> TextRanking:
        """Find the moments of the user's videos that a text describes, best first.

        Args:
          query: what can be seen, such as "a dog catches a red ball".
          limit: number of moments, at most 200.
          offset: number of better moments to leave out.
          folder: a subfolder that holds the videos.
          since: first day on which a file was changed, such as 2024-06-30.
          until: last such day.
          shortest: least duration of a video in seconds.
          longest: largest duration of a video in seconds; 0 = any.
          rerank: whether a slower, more exact model ranks the best moments.
        """
        asked = {
            "q": [query], "limit": limit, "offset": offset, "folder": folder, "since": since,
            "until": until, "shortest": shortest, "longest": longest, "rerank": rerank,
        }  # fmt: skip
        with _explained():
            (ranking,) = (await self._service.search(checked(Search, asked))).queries
            return ranking

    async def show_moment(self, id: str, start: float) -> list[Image | str]:
        """Show a frame of a video, and where its file is.

        Args:
          id: the video, from search_videos.
          start: the time in seconds.
        """
        with _explained():
            still = checked(Still, {"at": start, "width": _WIDTH})
            path, file = await self._service.video(id)
            with file:
                picture = await self._service.picture(file, still)
            place = self._service.engine.searcher.folder / path
            return [Image(data=picture, format="jpeg"), f"{place}, at {start:g} s"]


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turns errors into those of a tool, whose text an assistant reads."""
    try:
        yield
    except (UserError, MissingError, FullError, UnreadableError) as error:
        raise ToolError(str(error)) from error
