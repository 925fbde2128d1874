"""Writes a system's functions as StableHLO, which JAX runs without this package.

Examples:
  tokmerge export --config demo --target exported
  tokmerge export --config msrvtt_b16 --config.checkpoint=CKPT \\
      --target exported --batch 8 --weights inside

Retrieval systems give encode_video, encode_text and, with a matching head, match; action
recognition classify; question answering encode_video, score_answer and, if it generates answers,
write_answer; captioning adds caption to those of retrieval. Merging is part of them. Each is a file
for cpu, cuda and tpu; without --batch, it takes any number of rows.

`load.py` in the folder loads them with JAX alone; `export.json` has the names, shapes and dtypes of
what they read and return, the configuration, its GMAC, and the versions; see docs/export.md. They
compute in config.dtype: bfloat16 suits accelerators, and is to be named on a machine without one.
"""

import typing

from absl import flags

from tokmerge_jax import checkpoints, command_line, objects, registry
from tokmerge_jax.config import Config
from tokmerge_jax.tasks.export import PLATFORMS, Weights, export
from tokmerge_jax.types import UserError

_TARGET = flags.DEFINE_string("target", None, "the new folder")
_BATCH = flags.DEFINE_integer("batch", 0, "number of rows; 0 = any", lower_bound=0)
_WEIGHTS = flags.DEFINE_enum(
    "weights", "beside", typing.get_args(Weights), "in a file of their own, or in each function"
)


def main(config: Config) -> None:
    """Exports the functions and prints their names."""
    if not _TARGET.value:
        raise UserError("--target is missing; name the new folder, see --help")
    target = objects.local(objects.place(_TARGET.value), "exports")
    system = registry.build(config)
    names = export(
        system,
        checkpoints.load_checkpoint(system.config.checkpoint, system),
        target,
        name=command_line.config_name(),
        batch=_BATCH.value,
        weights=typing.cast(Weights, _WEIGHTS.value),
    )
    print(f"Wrote {', '.join(names)} for {', '.join(PLATFORMS)}: {target}")


def run() -> None:
    """Runs the command."""
    command_line.run(main)
