"""The tools for assistants, asked as an assistant asks."""

import asyncio
import base64
import io

from mcp import Client
from mcp.types import ImageContent, TextContent
from PIL import Image

from tokmerge_jax.serving.assistants import tools


def call(service, name, **arguments):
    async def main():
        async with Client(tools(service)) as client:
            return await client.call_tool(name, arguments)

    return asyncio.run(main())


def test_the_tools_describe_themselves(service):
    async def main():
        async with Client(tools(service)) as client:
            return (await client.list_tools()).tools

    described = {tool.name: tool for tool in asyncio.run(main())}
    assert described.keys() == {"search_videos", "show_moment"}
    assert described["search_videos"].input_schema["required"] == ["query"]
    assert described["show_moment"].input_schema["required"] == ["id", "start"]


def test_a_search_and_a_picture(service):
    result = call(service, "search_videos", query="a white cross", limit=2, folder="2024")
    (hits,) = service.engine.searcher(["a white cross"], 51, False)
    inside = [hit for hit in hits if hit.path.startswith("2024/")]
    answer = result.structured_content
    assert [hit["path"] for hit in answer["hits"]] == [hit.path for hit in inside[:2]]
    shown = call(service, "show_moment", id=answer["hits"][0]["id"], start=0.5)
    picture, place = shown.content
    assert isinstance(picture, ImageContent)
    assert isinstance(place, TextContent)
    assert Image.open(io.BytesIO(base64.b64decode(picture.data))).format == "JPEG"
    file = (service.engine.searcher.folder / inside[0].path).resolve()
    assert place.text == f"{file}, at 0.5 s"


def test_a_mistake_is_one_sentence(service):
    for name, arguments, says in (
        ("search_videos", {"query": ""}, "holds no word"),
        ("search_videos", {"query": "x", "limit": 0}, "limit: Input should be greater"),
        ("search_videos", {"query": "x", "since": "May"}, "since: Invalid isoformat"),
        ("show_moment", {"id": "../secret", "start": 0}, "the index holds no such video"),
        ("show_moment", {"id": "x", "start": -1}, "at: Input should be greater"),
    ):
        result = call(service, name, **arguments)
        (content,) = result.content
        assert result.is_error
        assert isinstance(content, TextContent)
        assert says in content.text
        assert "\n" not in content.text
