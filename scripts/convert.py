"""Converts PyTorch's weights into our folder, or back.

Examples:
  python scripts/convert.py --config configs/msrvtt_b16.py --source ret_msrvtt.pth --target b16
  python scripts/convert.py --config configs/msrvtt_b16.py --reverse --source b16 \
      --target b16.safetensors
  python scripts/convert.py --config configs/tempme_msrvtt_b32.py --source best.pth --merge_lora \
      --target merged

The configuration says which network it is. The folder is what `--config.checkpoint` takes (it takes
the .pth as well, but a folder loads faster and is checked already). --source is a .pth, .pt, .bin
or .safetensors (told by content), the .index.json of files that share the weights, or a folder of
Hugging Face with one of these. The way back gives PyTorch's names as a fine-tuned checkpoint has
them (of CLIP: as TempMe's has), every tensor equal to the original bit for bit (but for float64,
which is rounded to float32, and for a single number's axes).
"""

import rich
import rich.table
from absl import flags
from etils import epath

from tokmerge_jax import command_line
from tokmerge_jax.config import Config
from tokmerge_jax.tasks.conversion import Summary, convert

_SOURCE = flags.DEFINE_string("source", None, "what to convert", required=True)
_TARGET = flags.DEFINE_string("target", None, "the new folder (or .safetensors)", required=True)
_MERGE = flags.DEFINE_bool("merge_lora", False, "fold LoRA into the weights that it changes")
_REVERSE = flags.DEFINE_bool("reverse", False, "from our weights to PyTorch's names")


def main(config: Config) -> None:
    """Converts one way or the other."""
    source, target = epath.Path(_SOURCE.value), epath.Path(_TARGET.value)
    summary = convert(config, source, target, reverse=_REVERSE.value, fold_lora=_MERGE.value)
    if _MERGE.value:
        print("LoRA is folded into the weights: use them with --config.model.lora_rank=0")
    if summary:
        rich.print(table(summary))
    print(f"Wrote {target}")


def table(summary: Summary) -> rich.table.Table:
    """What became of the tensors, alike ones of all layers in a row."""
    rows = rich.table.Table()
    for column in ("tensors of the checkpoint", "count", "numbers", "became"):
        rows.add_column(column, overflow="fold")
    for (source, target), alike in summary.items():
        rows.add_row(source, str(alike.tensors), f"{alike.numbers:,}", target)
    return rows


if __name__ == "__main__":
    command_line.run(main)
