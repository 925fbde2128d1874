"""Converts PyTorch weights into our format, or back.

Examples:
  tokmerge convert --config msrvtt_b16 --source ret_msrvtt.pth --target b16
  tokmerge convert --config msrvtt_b16 --reverse --source b16 \\
      --target b16.safetensors
  tokmerge convert --config tempme_msrvtt_b32 --source best.pth --merge_lora \\
      --target merged

The configuration defines the network. `--config.checkpoint` takes the new folder (it takes the .pth
as well, but a folder loads faster and is already checked). --source is a .pth, .pt, .bin or
.safetensors file (recognised by content), the .index.json of a checkpoint in several files, or a
Hugging Face folder with one of these. --reverse gives the names of a fine-tuned PyTorch checkpoint
(for CLIP, those of TempMe's), with every tensor equal to the original bit for bit (except that
float64 is rounded to float32, and that a tensor with one element may have other axes).
"""

import rich
import rich.table
from absl import flags
from etils import epath

from tokmerge_jax import command_line
from tokmerge_jax.checkpoints import hub
from tokmerge_jax.config import Config
from tokmerge_jax.tasks.conversion import Summary, convert
from tokmerge_jax.types import UserError

_SOURCE = flags.DEFINE_string("source", None, "the weights to convert")
_TARGET = flags.DEFINE_string("target", None, "the new folder (or .safetensors)")
_MERGE = flags.DEFINE_bool("merge_lora", False, "add LoRA to the weights that it changes")
_REVERSE = flags.DEFINE_bool("reverse", False, "convert our weights to PyTorch's names")


def main(config: Config) -> None:
    """Converts the weights and prints a summary."""
    if not _SOURCE.value:
        raise UserError("--source is missing; name the weights to convert, see --help")
    if not _TARGET.value:
        raise UserError("--target is missing; name the new folder, see --help")
    source, target = epath.Path(hub.local(_SOURCE.value)), epath.Path(_TARGET.value)
    summary = convert(config, source, target, reverse=_REVERSE.value, fold_lora=_MERGE.value)
    if _MERGE.value:
        print("LoRA is folded into the weights: use them with --config.model.lora_rank=0")
    if summary:
        rich.print(table(summary))
    print(f"Wrote {target}")


def table(summary: Summary) -> rich.table.Table:
    """A table of the converted tensors, with alike tensors of all layers in one row."""
    rows = rich.table.Table()
    for column in ("tensors of the checkpoint", "count", "numbers", "became"):
        rows.add_column(column, overflow="fold")
    for (source, target), alike in summary.items():
        rows.add_row(source, str(alike.tensors), f"{alike.numbers:,}", target)
    return rows


def run() -> None:
    """Runs the command."""
    command_line.run(main)
