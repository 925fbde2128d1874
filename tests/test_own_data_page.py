"""docs/own_data.md: its commands name keys that exist, and those that prepare and evaluate run."""

import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest
import wheels

import tokmerge_jax
from tokmerge_jax.config import files

ROOT = pathlib.Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "own_data.md").read_text("utf-8")
COMMANDS = [
    shlex.split(command)
    for command in re.findall(r"\btokmerge (?:[^`\n]|\\\n)+", PAGE.replace("\\\n", " "))
    if " --" in command
]


def blocks(marker, language):
    return re.findall(rf"<!-- {marker} -->\n```{language}\n(.*?)```", PAGE, re.S)


def settings(command):
    """The keys that a command changes: `--config.KEY=VALUE`."""
    pairs = (re.fullmatch(r"--config\.([\w.]+)=(.*)", word) for word in command)
    return {pair[1]: pair[2] for pair in pairs if pair}


@pytest.mark.parametrize("command", [c for c in COMMANDS if "--config" in c], ids=" ".join)
def test_each_configuration_reads_data_of_ones_own(command):
    config = files.load(command[command.index("--config") + 1])
    numbers = {key: int(value) for key, value in settings(command).items() if value.isdigit()}
    own = config.override({**settings(command), **numbers}).resolved()
    own.check()
    assert own.data.dataset == "custom"


def test_the_page_names_every_system():
    systems = {files.load(c[c.index("--config") + 1]).system for c in COMMANDS if "--config" in c}
    assert systems == {*tokmerge_jax.list_systems()} - {"testa_pretrain"}


@pytest.mark.slow
def test_the_commands_that_prepare_and_evaluate_run_from_the_wheels(tmp_path):
    (draw,) = blocks("videos", "python")
    site = wheels.install(tmp_path)
    env = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}  # one device
    env["PYTHONPATH"] = str(site)
    folder = tmp_path / "user"
    folder.mkdir()
    subprocess.run([sys.executable, "-c", draw], cwd=folder, env=env, check=True)
    for name in ("captions.csv", "questions.csv", "labels.csv"):
        (folder / name).write_text(*blocks(name, "text"))
    shown = ""
    for line in "".join(blocks("run", "bash")).splitlines():
        _, *arguments = shlex.split(line)
        done = subprocess.run(
            [site / "bin" / "tokmerge", *arguments],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        shown += " ".join(done.stdout.split())
    assert "custom, split test: 2 videos, 3 texts" in shown
    assert "2 questions, 2 answers" in shown
