"""Converts PyTorch weights into our format, or back.

Examples:
  tokmerge convert --config msrvtt_b16 --source ret_msrvtt.pth --target b16
  tokmerge convert --config msrvtt_b16 --reverse --source b16 \\
      --target b16.safetensors
  tokmerge convert --config tempme_msrvtt_b32 --source best.pth --merge_lora \\
      --target merged
  tokmerge convert --config msrvtt_b16 --source b16 --target card --push owner/name --license mit

The configuration defines the network. `--config.checkpoint` takes the new folder (it takes the .pth
as well, but a folder loads faster and is already checked). --source is a .pth, .pt, .bin,
.safetensors (recognised by content) or .npz file, the .index.json of a checkpoint in several files,
or a Hugging Face folder with one of these. --reverse gives the names of a fine-tuned PyTorch
checkpoint (for CLIP, those of TempMe's; for VideoPrism, the released ones, maybe in a .npz), with
every tensor equal to the original bit for bit (except that float64 is rounded to float32, and that
a tensor with one element may have other axes).

--check computes two numbers afterwards, one of the weights and one of what they make of a fixed
clip and text: they are the same on every machine, and others for wrong or damaged weights.

--push writes the target as a folder for the Hugging Face Hub (PyTorch's names, configuration, model
card) and uploads it; `tokmerge_jax.load` reads the folder, or hf://OWNER/NAME.
"""

import pathlib

import rich
import rich.table
from absl import flags
from etils import epath

from tokmerge_jax import command_line, objects, registry
from tokmerge_jax.checkpoints import hub, load_checkpoint
from tokmerge_jax.config import Config
from tokmerge_jax.tasks.check import check, confirm
from tokmerge_jax.tasks.conversion import Summary, convert
from tokmerge_jax.tasks.release import push, write
from tokmerge_jax.types import UserError

_SOURCE = flags.DEFINE_string("source", None, "the weights to convert")
_TARGET = flags.DEFINE_string("target", None, "the new folder (or .safetensors, .npz)")
_MERGE = flags.DEFINE_bool("merge_lora", False, "add LoRA to the weights that it changes")
_REVERSE = flags.DEFINE_bool("reverse", False, "convert our weights to PyTorch's names")
_CHECK = flags.DEFINE_bool("check", False, "compute the numbers by which weights are known")
_PUSH = flags.DEFINE_string("push", "", "write a folder for the Hub, upload it as OWNER/NAME")
_LICENSE = flags.DEFINE_string("license", "unknown", "the licence in the model card")


def main(config: Config) -> None:
    """Converts the weights and prints a summary."""
    if not _SOURCE.value:
        raise UserError("--source is missing; name the weights to convert, see --help")
    if not _TARGET.value:
        raise UserError("--target is missing; name the new folder, see --help")
    if flags.FLAGS["license"].present and not _PUSH.value:
        raise UserError("--license is for the model card of --push; add --push, or leave it out")
    source, target = epath.Path(hub.local(_SOURCE.value)), objects.place(_TARGET.value)
    if _PUSH.value:
        return release(config, source, objects.local(target, "folders for the Hub"))
    summary = convert(config, source, target, reverse=_REVERSE.value, fold_lora=_MERGE.value)
    if _MERGE.value:
        print("LoRA is folded into the weights: use them with --config.model.lora_rank=0")
    if summary:
        rich.print(table(summary))
    print(f"Wrote {target}")
    if _CHECK.value:
        report(config, _SOURCE.value, source, target)


def release(config: Config, source: epath.Path, folder: pathlib.Path) -> None:
    """Writes the folder for the Hub and uploads it."""
    if _MERGE.value or _REVERSE.value or _CHECK.value:
        raise UserError(
            "--push takes no --merge_lora, --reverse or --check; convert first, and push from there"
        )
    write(command_line.config_file(), config, source, folder, licence=_LICENSE.value)
    print(f"Wrote {folder}; pushed: {push(folder, _PUSH.value)}")


def report(config: Config, name: str, source: epath.Path, target: objects.Place) -> None:
    """Prints the numbers of the converted weights, which were named `name`."""
    changes = {"model.lora_rank": 0} if _MERGE.value else {}
    system = registry.build(config.override({**changes, "checkpoint": str(source)}))
    numbers = check(system.config, load_checkpoint(target, system))
    print(f"Check: {numbers.weights:.9g} (weights), {numbers.outputs:.6g} (outputs)")
    confirm(numbers, name)


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
