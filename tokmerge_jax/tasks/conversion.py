"""Converting PyTorch's weights into a folder of ours, and back."""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from etils import epath
from safetensors.numpy import save_file

from tokmerge_jax import checkpoints, disk, registry
from tokmerge_jax.checkpoints import checkpoint, rules, torch_file
from tokmerge_jax.config import Config, clip
from tokmerge_jax.layers.lora import merge_lora
from tokmerge_jax.system import System
from tokmerge_jax.types import UserError


class Alike(NamedTuple):
    """Tensors of all layers that became the same: how many, and of how many numbers."""

    tensors: int
    numbers: int


Summary = Mapping[tuple[str, str], Alike]
"""(tensors of the checkpoint, what they became), with * for numbers."""


def convert(
    config: Config,
    source: epath.Path,
    target: epath.Path,
    *,
    reverse: bool = False,
    fold_lora: bool = False,
) -> Summary:
    """Converts weights one way or the other.

    Args:
      config: which network it is.
      source: PyTorch's file or folder, or with `reverse` weights of ours.
      target: the new folder, or with `reverse` a new .safetensors file.
      reverse: from our weights to PyTorch's names, as a fine-tuned checkpoint has them.
      fold_lora: fold LoRA into the weights that it changes.

    Returns:
      What became of the tensors; with `reverse` nothing.

    Raises:
      UserError: listing everything that does not fit; if `target` exists, or there is no LoRA.
    """
    model = config.model
    if isinstance(model, clip.Model) and model.sizes == "checkpoint" and not reverse:
        config = config.override({"checkpoint": str(source)})
    system = registry.build(config)
    lora = isinstance(model, clip.Model) and model.lora_rank > 0
    if target.exists():
        raise UserError(f"--target={target} exists already; remove it, or name another")
    if fold_lora and (reverse or not lora):
        raise UserError(
            "--merge_lora folds LoRA on the way into our folder; this configuration has none"
            " (config.model.lora_rank), or --reverse was asked for"
        )
    if reverse:
        _to_torch(system, source, target)
        return {}
    return _from_torch(system, source, target, fold_lora)


def _from_torch(system: System, source: epath.Path, target: epath.Path, fold_lora: bool) -> Summary:
    """A checkpoint of PyTorch -> our folder."""
    tensors = torch_file.read(source)
    names = checkpoints.table(system, tensors)
    params = rules.load(names, tensors, system.weights.shapes, f"the weights of {source}")
    constants: dict[str, object] = {"source": source.name, "sha256": _digest(source)}
    if fold_lora:
        params = merge_lora(params)
        constants["lora"] = "folded"
    else:
        constants["dtypes"] = rules.dtypes(names, tensors)
    checkpoints.save_checkpoint(target, params, system, constants)
    return {
        kind: Alike(len(alike), sum(tensors[name].size for name in alike))
        for kind, alike in rules.summary(names, tensors).items()
    }


def _to_torch(system: System, source: epath.Path, target: epath.Path) -> None:
    """Our weights -> a .safetensors file of PyTorch's names and types."""
    if target.suffix != ".safetensors":
        raise UserError(f"--target={target} must end in .safetensors when converting back")
    params = checkpoints.load_checkpoint(source, system)
    dtypes = checkpoint.constants(source).get("dtypes") if source.is_dir() else None
    tensors = rules.unload(system.weights.names[0], params, dtypes)
    with disk.explained(target):
        save_file(tensors, target)


def _digest(source: epath.Path) -> str:
    """The SHA-256 of a checkpoint's bytes, of one file after the other where it has several."""
    total = hashlib.sha256()
    for part in torch_file.files(source):
        with part.open("rb") as file:
            while block := file.read(2**20):
                total.update(block)
    return total.hexdigest()
