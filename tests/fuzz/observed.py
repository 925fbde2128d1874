"""Runs a script as it is, and notes which rows of which array of a store it writes.

python tests/fuzz/observed.py NOTES SCRIPT ARGUMENTS...
"""

import json
import pathlib
import runpy
import sys

import numpy as np

from tokmerge_jax.evaluation.store import Rows


def main() -> None:
    """Takes its own arguments off the command line, and becomes the script."""
    notes, script = sys.argv[1:3]
    sys.argv = sys.argv[2:]
    write = Rows.write

    def noted(self: Rows, rows: np.ndarray, values: np.ndarray) -> None:
        with open(notes, "a") as file:
            file.write(json.dumps([str(self._marks), np.asarray(rows).tolist()]) + "\n")
        write(self, rows, values)

    Rows.write = noted
    sys.path.insert(0, str(pathlib.Path(script).parent))
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
