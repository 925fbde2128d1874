"""The server as a user starts it: its address, its end, its tools, its mistakes."""

import asyncio
import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys

import pytest
import script
import small_server
from mcp import Client, StdioServerParameters

from tokmerge_jax.serving import server
from tokmerge_jax.types import UserError

PROGRAM = [sys.executable, "-m", "tokmerge_jax", "serve"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    small_server.write_clips(folder / "videos")
    small_server.make_index(folder / "videos", folder / "index")
    return folder / "index"


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_answers_until_it_is_stopped(made, how):
    options = [f"--index={made}", "--port=0", *(["--host=0.0.0.0"] if how == signal.SIGINT else [])]
    with subprocess.Popen(
        [*PROGRAM, *options],
        cwd=script.ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[2]
        port = int(address.split(":")[2].partition("/")[0])
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
            connection.request("GET", "/health")
            status = connection.getresponse().status
        assert status == (401 if "token=" in address else 200)
        assert ("token=" in address) == (how == signal.SIGINT)
        os.kill(process.pid, how)
        output, errors = process.communicate()
    assert (process.returncode, output, errors) == (0, "Stopped.\n", "")


@pytest.mark.slow
def test_assistants_start_it_and_ask_over_pipes(made):
    async def main():
        parameters = StdioServerParameters(
            command=PROGRAM[0], args=[*PROGRAM[1:], f"--index={made}", "--mcp"], cwd=script.ROOT
        )
        async with Client(parameters) as client:
            return await client.call_tool("search_videos", {"query": "a cross"})

    answer = asyncio.run(main()).structured_content
    assert answer is not None
    assert len(answer["hits"]) >= 4


def test_a_busy_port_is_one_sentence():
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with pytest.raises(UserError, match=rf"--port={port}: .*in use.*; choose another port"):
            server.listen("127.0.0.1", port)
    with pytest.raises(UserError, match=r"--host=none\.invalid .*; choose another port or host"):
        server.listen("none.invalid", 0)


def test_a_token_is_read_from_a_file(tmp_path):
    file = tmp_path / "token.txt"
    file.write_text("0123456789abcdef\n")
    assert server.read_token(str(file)) == "0123456789abcdef"
    for text in (
        "short",
        "two words of a token",
        "0123456789abcdef;",
        "0123456789abcdef\n" * 2,
        "é" * 20,
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=r"must hold one token of 16 or more letters"):
            server.read_token(str(file))
    with pytest.raises(UserError, match=r"token-file=.*none: no such file"):
        server.read_token(str(tmp_path / "none"))


@pytest.mark.slow
def test_without_its_packages_one_sentence_says_what_to_install():
    code = "import sys; sys.modules['uvicorn'] = None; from tokmerge_jax import commands"
    program = [sys.executable, "-c", f"{code}; commands.main()", "serve", "--index=none"]
    done = subprocess.run(program, cwd=script.ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("serve needs the package uvicorn, which is not installed: pip ")


def test_no_other_command_imports_the_server():
    package = script.ROOT / "tokmerge_jax"
    for file in package.rglob("*.py"):
        inside = file.is_relative_to(package / "serving") or file == package / "commands/serve.py"
        text = file.read_text("utf-8")
        assert inside or not any(name in text for name in ("tokmerge_jax.serving", "starlette"))
