"""docs/export.md: its command, loader, server and client run as they stand."""

import ast
import pathlib
import re
import shlex
import subprocess
import sys

import pytest
import script

from tokmerge_jax.tasks import exported

PAGE = (script.ROOT / "docs" / "export.md").read_text("utf-8")


def block(name):
    match = re.search(rf"<!-- {re.escape(name)} -->\n```python\n(.*?)```", PAGE, re.S)
    assert match is not None
    return match[1]


def bare(code):
    """A function without its annotations, docstring and comments."""
    function = next(x for x in ast.walk(ast.parse(code)) if isinstance(x, ast.FunctionDef))
    if ast.get_docstring(function):
        function.body = function.body[1:]
    function.returns = None
    for argument in function.args.args:
        argument.annotation = None
    return ast.unparse(function)


def test_the_loader_is_that_of_the_page():
    source = pathlib.Path(exported.__file__).read_text("utf-8")
    assert bare(block("loader")) == bare(source)


@pytest.mark.slow
def test_the_server_answers_the_client(tmp_path, monkeypatch, capsys):
    match = re.search(r"```bash\ntokmerge (.*)\n```", PAGE)
    assert match is not None
    command = shlex.split(match[1].replace("--target exported", f"--target {tmp_path}/exported"))
    done = script.run("tokmerge_jax/__main__", *command)
    assert done.stdout.startswith("Wrote encode_video, encode_text, match for cpu, cuda, tpu: ")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(block("captions"), names)
    (tmp_path / "server.py").write_text(block("server.py"))
    served = subprocess.Popen(
        [sys.executable, "server.py", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with served:
        try:
            assert served.stdout
            names["port"] = int(served.stdout.readline())
            exec(block("client"), names)
            assert ast.literal_eval(capsys.readouterr().out) == names["captions"]
            with pytest.raises(names["urllib"].error.HTTPError, match="400"):
                names["urllib"].request.urlopen(f"http://localhost:{names['port']}", b"no array")
        finally:
            served.terminate()
