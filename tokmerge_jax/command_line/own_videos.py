"""What scripts do with videos that a command line names: check beforehand, show, keep."""

import contextlib
import io
import json
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import rich
from rich.table import Table

from tokmerge_jax import disk, runtime
from tokmerge_jax.data.video.clips import decoder
from tokmerge_jax.own_videos import videos
from tokmerge_jax.system import System
from tokmerge_jax.types import UserError


def sources(names: Sequence[str]) -> dict[str, str]:
    """What to decode for each video, as `videos.sources`.

    Raises:
      UserError: if none is named, or naming those that are no videos.
    """
    if not names:
        script = pathlib.Path(sys.argv[0]).name
        raise UserError(f"no video is named: {script} --config CONFIG a.mp4 b.mp4, see --help")
    return videos.sources(names)


def check(system: System, output: str) -> None:
    """Raises UserError if videos cannot be read, or their results not be kept, as asked."""
    decoder(system.config.data, system.pixels.frames, folder="")  # its settings can be
    if output and not os.path.isdir(os.path.dirname(os.path.abspath(output))):
        raise UserError(f"--output={output} lies in no folder that is there; make it first")
    if output:
        with disk.explained(output), contextlib.suppress(FileNotFoundError):
            os.lstat(f"{output}.part")  # its name may be too long


def show(table: Table) -> None:
    """Prints a table; names of files in it may be no text."""
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(errors="backslashreplace")
    rich.print(table)


def keep(output: str, found: Mapping[str, Any], what: str) -> None:
    """Writes what was found, `what` in words, into a file, if one is named."""
    if not output:
        return
    runtime.write_text(pathlib.Path(output), json.dumps(found, indent=2) + "\n")
    print(f"{what} are in {output}")
