"""Scripts as a user runs them, each in a process forked from one that has imported the libraries.

Importing them takes longer than most of what a test asks of a script.
"""

import multiprocessing
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping

ROOT = pathlib.Path(__file__).parents[2]

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["flax.linen", "grain", "matplotlib.figure", "orbax.checkpoint", "tensorflow_datasets"]
)


def run(script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python scripts/SCRIPT.py ARGUMENTS` at the root: its exit code, output and errors.

    A `script` that names a folder is one of that folder.
    """
    path = script if "/" in script else f"scripts/{script}"
    command = [f"{path}.py", *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        files = [pathlib.Path(folder, name) for name in ("out", "err")]
        process = _FORKS.Process(target=_main, args=(command, files, {**os.environ, **environment}))
        process.start()
        process.join()
        assert process.exitcode is not None
        said = [file.read_text("utf-8") for file in files]
    return subprocess.CompletedProcess(command, process.exitcode, *said)


def _main(command: list[str], files: list[pathlib.Path], environment: Mapping[str, str]) -> None:
    for number, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    os.environ.update(environment)
    os.chdir(ROOT)
    sys.argv = command
    sys.path.insert(0, str(ROOT))
    runpy.run_path(command[0], run_name="__main__")
