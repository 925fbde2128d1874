"""Converts PyTorch checkpoints into our format, and back."""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np
from etils import epath

from tokmerge_jax import checkpoints, disk, registry
from tokmerge_jax.checkpoints import checkpoint, hub, rules, torch_file
from tokmerge_jax.config import Config, clip
from tokmerge_jax.layers.lora import merge_lora
from tokmerge_jax.objects import Place
from tokmerge_jax.system import System
from tokmerge_jax.types import UserError


class TensorGroup(NamedTuple):
    """Tensors with the same name in all layers: number of tensors, and of values in them."""

    tensors: int
    numbers: int


Summary = Mapping[tuple[str, str], TensorGroup]
"""(names in the checkpoint, our names) -> tensors; * stands for numbers."""


def convert(
    config: Config,
    source: epath.Path,
    target: Place,
    *,
    reverse: bool = False,
    fold_lora: bool = False,
) -> Summary:
    """Converts weights from PyTorch, or to PyTorch.

    Args:
      config: the configuration of the network.
      source: PyTorch's file or folder; with `reverse`, our weights.
      target: the new folder, maybe on a store; with `reverse`, a new .safetensors or .npz file.
      reverse: convert our weights to PyTorch's names, as in a fine-tuned checkpoint.
      fold_lora: add LoRA to the weights that it changes.

    Returns:
      a summary of the converted tensors; empty with `reverse`.

    Raises:
      UserError: if tensors do not fit (the message lists them), `target` exists, or LoRA is absent.
    """
    if not reverse and target.suffix in hub.WEIGHTS:
        raise UserError(
            f"target={target} would be a folder; leave out {target.suffix}, or add --reverse to"
            " write PyTorch's names into a .safetensors or .npz file"
        )
    model = config.model
    if isinstance(model, clip.Model) and model.sizes == "checkpoint" and not reverse:
        config = config.override({"checkpoint": str(source)})
    system = registry.build(config)
    lora = isinstance(model, clip.Model) and model.lora_rank > 0
    if target.exists():
        raise UserError(f"target={target} already exists; remove it or name another")
    if fold_lora and (reverse or not lora):
        raise UserError(
            "folding LoRA needs a configuration with LoRA (config.model.lora_rank), and works only"
            " on the way into our folder, not in reverse"
        )
    if reverse:
        _to_torch(system, source, target)
        return {}
    return _from_torch(system, source, target, fold_lora)


def _from_torch(system: System, source: epath.Path, target: Place, fold_lora: bool) -> Summary:
    """Converts a PyTorch checkpoint into our folder."""
    tensors = torch_file.read(source)
    names = checkpoints.table(system, tensors)
    params = rules.load(names, tensors, system.weights.shapes, f"the weights of {source}")
    constants: dict[str, object] = {"source": source.name, "sha256": _digest(source)}
    if fold_lora:
        params = merge_lora(params)
        constants["lora"] = "folded"
    else:
        constants["dtypes"] = rules.dtypes(names, tensors)
    with disk.filled(target) as folder:
        checkpoints.save_checkpoint(folder, params, system, constants)
    return {
        kind: TensorGroup(len(names), sum(tensors[name].size for name in names))
        for kind, names in rules.summary(names, tensors).items()
    }


def _to_torch(system: System, source: epath.Path, target: Place) -> None:
    """Converts our weights into a .safetensors or .npz file with the authors' names and dtypes."""
    if target.suffix not in (".safetensors", ".npz"):
        raise UserError(f"target={target} must end in .safetensors or .npz when converting back")
    params = checkpoints.load_checkpoint(source, system)
    dtypes = checkpoint.constants(source).get("dtypes") if source.is_dir() else None
    tensors = rules.unload(system.weights.names[0], params, dtypes)
    with disk.replaced(target) as part:
        if target.suffix == ".npz":
            with part.open("wb") as file:
                np.savez(file, **cast(dict[str, Any], tensors))  # Any: keys are no options
        else:
            disk.write_tensors(part, tensors)


def _digest(source: epath.Path) -> str:
    """The SHA-256 of a checkpoint's bytes, all its files in order."""
    total = hashlib.sha256()
    for part in torch_file.files(source):
        with part.open("rb") as file:
            while block := file.read(2**20):
                total.update(block)
    return total.hexdigest()
