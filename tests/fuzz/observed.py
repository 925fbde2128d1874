"""Runs a script as it is, but slower: a pause before each result that it stores.

python tests/fuzz/observed.py NOTES SCRIPT ARGUMENTS...

So its progress can be told, and it can be killed, result by result. Which rows of which array of an
evaluation's store it writes is noted, a line each time.
"""

import json
import pathlib
import runpy
import sys
import time
from typing import Any

import numpy as np

from tokmerge_jax.evaluation.rows import FilePart
from tokmerge_jax.own_videos.index import Index

_PAUSE_S = 0.05


def main() -> None:
    """Takes its own arguments off the command line, and becomes the script."""
    notes, script = sys.argv[1:3]
    sys.argv = sys.argv[2:]
    write, add = FilePart.write, Index.add

    def write_slowly(
        self: FilePart, rows: np.ndarray, values: np.ndarray, marks: np.ndarray
    ) -> None:
        time.sleep(_PAUSE_S)
        with open(notes, "a") as file:
            file.write(json.dumps([str(self._mark_file), np.asarray(rows).tolist()]) + "\n")
        write(self, rows, values, marks)

    def add_slowly(self: Index, windows: Any, stamps: Any, features: Any) -> None:
        time.sleep(_PAUSE_S)
        add(self, windows, stamps, features)

    FilePart.write, Index.add = write_slowly, add_slowly
    sys.path.insert(0, str(pathlib.Path(script).parent))
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
