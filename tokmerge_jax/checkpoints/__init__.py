"""PyTorch's checkpoints <-> our parameters, and our own weights on disk."""

from collections.abc import Mapping

import numpy as np
from etils import epath

from tokmerge_jax import registry
from tokmerge_jax.checkpoints import checkpoint, rules, torch_file
from tokmerge_jax.config import Config
from tokmerge_jax.system import System
from tokmerge_jax.types import Json, Params, UserError


def from_torch(system: str, state_dict: rules.StateDict, config: Config) -> Params:
    """PyTorch's tensors as the parameters of the system that `config` describes.

    Args:
      system: its name, for example "vid_tldr"; must be `config.system`.
      state_dict: the tensors by PyTorch's names, as `torch_file.read` returns them.
      config: the system's configuration.

    Returns:
      Numpy arrays, views of the tensors where possible.

    Raises:
      UserError: listing everything that does not fit.
    """
    built = _build(system, config)
    return rules.load(table(built, state_dict), state_dict, built.weights.shapes)


def to_torch(
    system: str,
    params: Params,
    config: Config,
    dtypes: Mapping[str, str] | None = None,
) -> dict[str, np.ndarray]:
    """The inverse of `from_torch`, bit for bit, in the names of a fine-tuned checkpoint.

    Args:
      system: its name; must be `config.system`.
      params: its parameters.
      config: its configuration.
      dtypes: the types of tensors that were not float32 (constant "dtypes" of a converted folder).
    """
    return rules.unload(_build(system, config).weights.names[0], params, dtypes)


def table(system: System, state_dict: rules.StateDict) -> rules.RuleSet:
    """How the names of such a checkpoint, PyTorch's or ours, become the system's parameters."""
    if any("/" in name for name in state_dict):
        return rules.identity(
            system.weights.shapes, state_dict, system.weights.optional, system.weights.names
        )
    return rules.choose(system.weights.names, state_dict)


def load_checkpoint(path: epath.PathLike, system: System, *, to_train: bool = False) -> Params:
    """The weights that `path` holds, for `system`.

    Args:
      path: a folder of `save_checkpoint`, a .pth of PyTorch, a .safetensors file under PyTorch's
        names or ours ("vision/norm/scale"), or what else `torch_file.read` takes.
      system: whose weights they are.
      to_train: accept a checkpoint that lacks a head which training starts anew.

    Returns:
      Numpy arrays, views of a file's tensors where possible.

    Raises:
      UserError: if there is no such thing, it is damaged, or does not fit the system.
    """
    if not str(path):
        raise UserError(
            "config.checkpoint is empty; name a .pth or .safetensors file of the system, or the DIR"
            " that it was converted to by: python scripts/convert.py --config CONFIG --source FILE"
            " --target DIR"
        )
    path = epath.Path(path)
    if path.is_dir() and not torch_file.is_folder(path):
        _check_constants(path, system)
        return checkpoint.load(
            path, system.weights.shapes, lambda names: table(system, names), to_train=to_train
        )
    tensors = torch_file.read(path)
    names, origin = table(system, tensors), f"the weights of {path}"
    return rules.load(names, tensors, system.weights.shapes, origin, to_train=to_train)


def save_checkpoint(
    path: epath.PathLike,
    params: Params,
    system: System,
    origin: Mapping[str, Json] | None = None,
) -> None:
    """Writes weights and what belongs to them into a new folder, for `load_checkpoint`.

    Args:
      path: the folder.
      params: the parameters.
      system: whose they are; its constants are written beside them.
      origin: what else to write there, for example the file that they come from.

    Raises:
      UserError: if the folder holds weights already.
    """
    constants = {"system": system.name, **system.pixels.constants, **(origin or {})}
    checkpoint.save(path, params, constants)


def _build(name: str, config: Config) -> System:
    if config.system != name:
        raise UserError(f"config.system={config.system!r}, but weights of {name!r} were asked for")
    return registry.build(config)


def _check_constants(path: epath.Path, system: System) -> None:
    """Weights that were made for other pixels would give nonsense without a word."""
    stored = checkpoint.constants(path)
    for key, ours in (("mean", [*system.pixels.mean]), ("std", [*system.pixels.std])):
        if key in stored and not _alike(stored[key], ours):
            raise UserError(
                f"checkpoint {path} was made for pixels of {key} {stored[key]!r:.100}, but"
                f" {system.name} uses {ours}; choose the configuration of this checkpoint"
            )


def _alike(stored: object, ours: list[float]) -> bool:
    """Whether a value that anyone may have written equals our numbers."""
    try:
        return np.allclose(np.asarray(stored, float), ours)
    except (TypeError, ValueError):
        return False
