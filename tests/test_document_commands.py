"""The code of the documents: commands name what exists, and the Python of two pages runs.

The others run in `test_api.py`, `test_python_page.py`, `test_export_page.py` and
`test_own_data_page.py`.
"""

import pathlib
import re
import shlex
import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest

import tokmerge_jax
from tokmerge_jax import commands
from tokmerge_jax.config import files
from tokmerge_jax.merging import Evidence, Tokens, merger
from tokmerge_jax.merging.shift import ShiftPrune

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "tokmerge_jax"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
OF_ALL = "".join(file.read_text("utf-8") for file in (PACKAGE / "command_line").glob("*.py"))


def lines(page):
    """The commands of a page's shell blocks, a list of words each."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.S | re.M)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]


def ours(words):
    """(source of a command of tokmerge or a benchmark, its arguments) in a command, if any."""
    text = " ".join(words)
    call = re.search(r"\btokmerge (?:launch --processes \d+ )?(\w+)( .*|$)", text)
    if call:
        return PACKAGE / "commands" / f"{call[1]}.py", call[2].split()
    call = re.search(r"python -m (benchmarks\.\w+)( .*|$)", text)
    if call:
        return ROOT / f"{call[1].replace('.', '/')}.py", call[2].split()
    return None


NAMED = {
    f"{page.name}:{' '.join(words)}": command
    for page in PAGES
    for words in lines(page)
    if (command := ours(words))
}


def test_commands_are_found():
    assert len(NAMED) > 30
    assert ours(["pip", "install", "x"]) is None
    wanted = PACKAGE / "commands" / "eval.py"
    assert ours(["srun", "tokmerge", "launch", "--processes", "2", "eval", "--config", "demo"]) == (
        wanted,
        ["--config", "demo"],
    )


@pytest.mark.parametrize(("source", "arguments"), NAMED.values(), ids=NAMED)
def test_a_command_its_options_and_its_configuration_exist(source, arguments):
    text = source.read_text("utf-8") + OF_ALL
    options = {word.partition("=")[0].strip('"') for word in arguments if word.startswith("--")}
    for option in options - {o for o in options if o.startswith("--config.")}:
        name = option.removeprefix("--")
        assert re.search(rf'"(--)?{name}"', text), option
    if "--config" in arguments:
        config = files.load(arguments[arguments.index("--config") + 1])
        config.check_keys(option.removeprefix("--config.") for option in options if "." in option)


def test_the_commands_are_the_packages():
    used = {source.stem for source, _ in NAMED.values()} & {*commands.names()}
    assert used >= {"eval", "train", "prepare", "search", "visualize", "export", "classify"}


def test_the_merger_of_the_page_is_the_one_that_is_kept(monkeypatch):
    merger.names()  # registers all, which later would be in the copy alone
    monkeypatch.setattr(merger, "_MERGERS", dict(merger._MERGERS))
    page = (ROOT / "docs" / "mergers.md").read_text("utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.S | re.M)
    scope: dict[str, Any] = {"__name__": "page"}
    exec(block, scope)
    assert merger.find("shift_prune") is scope["ShiftPrune"] is not ShiftPrune
    one, other = jax.random.split(jax.random.key(0))
    tokens = Tokens(jax.random.normal(one, (2, 9, 4)))
    evidence = Evidence(shift=jax.random.normal(other, (2, 9)))
    ours, kept = (kind(3, 1)(tokens, evidence) for kind in (scope["ShiftPrune"], ShiftPrune))
    np.testing.assert_array_equal(ours.x, kept.x)
    assert ours.x.shape == (2, 6, 4)


@pytest.mark.slow
def test_the_search_of_the_readme_runs(tmp_path):
    (block,) = re.findall(
        r"^```python\n([^`]*tokmerge_jax\.search[^`]*)^```",
        (ROOT / "README.md").read_text("utf-8"),
        re.M,
    )
    folder = tmp_path / "data" / "demo_videos" / "test"
    tokmerge_jax.draw_clips(folder, 2)
    (tmp_path / "search.py").write_text(block)
    done = subprocess.run(
        [sys.executable, "search.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    paths = {line.split()[0] for line in done.stdout.splitlines()}
    assert len(paths & {path.name for path in folder.iterdir()}) >= 1
