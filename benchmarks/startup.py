"""Times the start of an evaluation: seconds from starting a process until its first batch is done.

Examples:
  python -m benchmarks.startup --config msrvtt_b16
  python -m benchmarks.startup --config tempme_msrvtt_b32 --rounds 3 --output startup.json
  python -m benchmarks.startup --config msrvtt_b16 --against vid-TLDR \\
      --against_python torch-env/bin/python

Each measurement is a fresh process (`first_batch.py`) that does what `tokmerge eval` does until one
batch of random videos and texts is encoded and written; it decodes and ranks nothing, and takes one
view of a video. "Cold" has no compiled programs on disk, "warm" has those of an earlier run. The
original, if given, loads our weights and encodes a batch of this size in its own form ("eager").
Rounds take turns; medians, the fastest and the slowest are printed. Without config.checkpoint,
random weights are written to a file with the names of the original's.

Tracing, lowering and compiling happen beside the work of other phases: only the phases from
"imports" to "first batch" add up to the total.
"""

import contextlib
import datetime
import json
import pathlib
import shlex
import sys
import tempfile

import rich.console
from absl import flags

from benchmarks.peer import Peer
from benchmarks.starts import figures, in_turns, table, ways
from tokmerge_jax import command_line, runtime
from tokmerge_jax.config import Config
from tokmerge_jax.config.common import ActionData
from tokmerge_jax.evaluation.report import settings
from tokmerge_jax.tasks.synthetic import machine

_ROUNDS = flags.DEFINE_integer("rounds", 5, "fresh processes of each way", lower_bound=1)
_CLIPS = flags.DEFINE_integer("clips", 1, "videos of the first batch", lower_bound=1)
_AGAINST = flags.DEFINE_string("against", "", "a checkout of the original, to time it as well")
_PYTHON = flags.DEFINE_string("against_python", "", "its Python: torch and what it needs")
_OUTPUT = flags.DEFINE_string("output", "", "a .json file for the figures")


def main(config: Config) -> None:
    """Times the start in each way, prints a table, and writes the figures."""
    peer = Peer(_AGAINST.value, _PYTHON.value) if _AGAINST.value else None
    if peer:
        peer.check(config.system)
    views = {"data.clips": 1, "data.crops": 1} if isinstance(config.data, ActionData) else {}
    config = config.override({"eval.batch_size": _CLIPS.value, **views})
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        timed = in_turns(ways(config, pathlib.Path(name), peer, stack), _ROUNDS.value)
    result = {
        "name": command_line.config_name(),
        "machine": machine(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "config": settings(config),
        "rounds": timed,
        "figures": {way: figures(rounds) for way, rounds in timed.items()},
    }
    if _OUTPUT.value:
        runtime.write_text(pathlib.Path(_OUTPUT.value), json.dumps(result, indent=2, default=str))
    rich.console.Console(width=150).print(table(result["figures"], result["name"]))


if __name__ == "__main__":
    command_line.run(main)
