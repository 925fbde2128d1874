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

import hashlib
from collections.abc import Mapping
from typing import Any

import common
import numpy as np
import rich
import rich.table
from absl import flags
from etils import epath
from safetensors.numpy import save_file

from tokmerge_jax import convert, disk, registry
from tokmerge_jax.config import Config, clip
from tokmerge_jax.convert import checkpoint, rules, torch_file
from tokmerge_jax.layers.lora import merge_lora
from tokmerge_jax.system import System
from tokmerge_jax.types import UserError

_SOURCE = flags.DEFINE_string("source", None, "what to convert", required=True)
_TARGET = flags.DEFINE_string("target", None, "the new folder (or .safetensors)", required=True)
_MERGE = flags.DEFINE_bool("merge_lora", False, "fold LoRA into the weights that it changes")
_REVERSE = flags.DEFINE_bool("reverse", False, "from our weights to PyTorch's names")


def main(config: Config) -> None:
    """Converts one way or the other."""
    source, target = epath.Path(_SOURCE.value), epath.Path(_TARGET.value)
    model = config.model
    if isinstance(model, clip.Model) and model.sizes == "checkpoint" and not _REVERSE.value:
        config = config.override({"checkpoint": str(source)})
    system = registry.build(config)
    lora = isinstance(model, clip.Model) and model.lora_rank > 0
    if target.exists():
        raise UserError(f"--target={target} exists already; remove it, or name another")
    if _MERGE.value and (_REVERSE.value or not lora):
        raise UserError(
            "--merge_lora folds LoRA on the way into our folder; this configuration has none"
            " (config.model.lora_rank), or --reverse was asked for"
        )
    (to_torch if _REVERSE.value else from_torch)(system, source, target)
    print(f"Wrote {target}")


def from_torch(system: System, source: epath.Path, target: epath.Path) -> None:
    """A checkpoint of PyTorch -> our folder, with a table of what went where."""
    tensors = torch_file.read(source)
    origin = f"the weights of {source}"
    names = convert.table(system, tensors)
    params = rules.load(names, tensors, system.weights.shapes, origin)
    constants: dict[str, Any] = {"source": source.name, "sha256": digest(source)}
    if _MERGE.value:
        params = merge_lora(params)
        constants["lora"] = "folded"
        print("LoRA is folded into the weights: use them with --config.model.lora_rank=0")
    else:
        constants["dtypes"] = rules.dtypes(names, tensors)
    convert.save_checkpoint(target, params, system, constants)
    rich.print(table(names, tensors))


def to_torch(system: System, source: epath.Path, target: epath.Path) -> None:
    """Our weights -> a .safetensors file of PyTorch's names and types."""
    if target.suffix != ".safetensors":
        raise UserError(f"--target={target} must end in .safetensors when converting back")
    params = convert.load_checkpoint(source, system)
    dtypes = checkpoint.constants(source).get("dtypes") if source.is_dir() else None
    tensors = rules.unload(system.weights.names[0], params, dtypes)
    with disk.explained(target):
        save_file(tensors, target)


def digest(source: epath.Path) -> str:
    """The SHA-256 of a checkpoint's bytes, of one file after the other where it has several."""
    total = hashlib.sha256()
    for part in torch_file.files(source):
        with part.open("rb") as file:
            while block := file.read(2**20):
                total.update(block)
    return total.hexdigest()


def table(names: rules.RuleSet, tensors: Mapping[str, np.ndarray]) -> rich.table.Table:
    """What became of the tensors, alike ones of all layers in a row."""
    rows = rich.table.Table()
    for column in ("tensors of the checkpoint", "count", "numbers", "became"):
        rows.add_column(column, overflow="fold")
    for (source, target), alike in rules.summary(names, tensors).items():
        numbers = sum(tensors[name].size for name in alike)
        rows.add_row(source, str(len(alike)), f"{numbers:,}", target)
    return rows


if __name__ == "__main__":
    common.run(main)
