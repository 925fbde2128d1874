"""Shared parts of the commands for the user's own videos: checks, tables, output files."""

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

from tokmerge_jax import disk, hosts, runtime
from tokmerge_jax.data.video.clips import decoder
from tokmerge_jax.own_videos import videos
from tokmerge_jax.system import System
from tokmerge_jax.types import UserError


def sources(names: Sequence[str]) -> dict[str, str]:
    """`videos.sources` of the videos on the command line.

    Raises:
      UserError: if none is named, or some are not videos (the message names them).
    """
    if not names:
        script = pathlib.Path(sys.argv[0]).name
        raise UserError(f"no video is named: {script} --config CONFIG a.mp4 b.mp4, see --help")
    return videos.sources(names)


def check(system: System, output: str) -> None:
    """Raises UserError if the decoding settings are invalid, or `output` cannot be written."""
    decoder(system.config.data, system.pixels.frames, folder="")  # raises for invalid settings
    if output and not os.path.isdir(os.path.dirname(os.path.abspath(output))):
        raise UserError(f"--output={output}: its folder does not exist; create it first")
    if output:
        with disk.explained(output), contextlib.suppress(FileNotFoundError):
            os.lstat(f"{output}.part")  # its name may be too long


def escape_names() -> None:
    """Prints file names that are not valid text with escapes from now on, instead of failing."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # notebooks have an output of their own
        sys.stdout.reconfigure(errors="backslashreplace")


def show(table: Table) -> None:
    """Prints a table, even if file names in it are not valid text."""
    escape_names()
    rich.print(table)


def refuse(faults: Sequence[str]) -> None:
    """Raises UserError with these sentences, if any, once process 0 has shown and kept the rest."""
    hosts.wait()
    if faults:
        raise UserError("\n".join(faults))


def keep(output: str, record: Mapping[str, Any], what: str) -> None:
    """Writes a record (called `what`) into a JSON file, if one is named, by process 0."""
    if not output or hosts.number():
        return
    runtime.write_text(pathlib.Path(output), json.dumps(record, indent=2) + "\n")
    print(f"{what} are in {output}")
