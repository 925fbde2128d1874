"""The file that keeps the rounds of a benchmark, so that a later run continues."""

import json
import pathlib
from collections.abc import Mapping, Sequence

from tokmerge_jax import runtime
from tokmerge_jax.types import UserError


def write(path: pathlib.Path, facts: str, rounds: Sequence[Mapping[str, float]]) -> None:
    """Writes the rounds and a fingerprint of the programs and the machine that they belong to."""
    runtime.write_text(path, json.dumps({"facts": facts, "rounds": rounds}, indent=1))


def earlier(path: pathlib.Path, facts: str) -> list[dict[str, float]]:
    """The rounds in the file `path` that have the same facts; none without the file.

    Raises:
      UserError: if the file is damaged.
    """
    if not path.exists():
        return []
    try:
        kept = json.loads(path.read_text("utf-8"))
        return list(kept["rounds"]) if kept["facts"] == facts else []
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"{path}: damaged; delete it to measure anew") from error
