"""Converts PyTorch checkpoints to our parameters and back, and stores our own weights."""

import sys
from collections.abc import Mapping

import numpy as np
from etils import epath

from tokmerge_jax.checkpoints import checkpoint, hub, rules, torch_file
from tokmerge_jax.system import System
from tokmerge_jax.types import Json, Params, UserError

_FLAX = "params/"
"""What the names of other authors' Flax networks begin with, and ours do not."""


def from_torch(system: System, state_dict: rules.StateDict) -> Params:
    """Converts PyTorch tensors to the parameters of a system.

    Args:
      system: the system.
      state_dict: PyTorch's name -> tensor, as `torch_file.read` returns them.

    Returns:
      NumPy arrays, views of the tensors where possible.

    Raises:
      UserError: if anything does not fit; the message lists it.
    """
    return rules.load(table(system, state_dict), state_dict, system.weights.shapes)


def to_torch(
    system: System, params: Params, dtypes: Mapping[str, str] | None = None
) -> dict[str, np.ndarray]:
    """Inverts `from_torch` bit for bit, with the names of a fine-tuned checkpoint.

    Args:
      system: the system.
      params: its parameters.
      dtypes: name -> dtype of the tensors that were not float32 (constant "dtypes" of a converted
        folder).
    """
    return rules.unload(system.weights.names[0], params, dtypes)


def table(system: System, state_dict: rules.StateDict) -> rules.RuleSet:
    """The rules that convert a checkpoint's names, its authors' or ours, to the system's."""
    if any("/" in name and not name.startswith(_FLAX) for name in state_dict):
        return rules.identity(
            system.weights.shapes, state_dict, system.weights.optional, system.weights.names
        )
    return rules.choose(system.weights.names, state_dict)


def load_checkpoint(path: epath.PathLike, system: System, *, to_train: bool = False) -> Params:
    """Loads the weights at `path` for `system`.

    Args:
      path: a folder of `save_checkpoint`, a PyTorch .pth file, a .safetensors file with PyTorch's
        names or ours ("vision/norm/scale"), anything else that `torch_file.read` takes, or the
        name of weights to download (`hub.local`).
      system: the system that the weights are for.
      to_train: whether the checkpoint may lack a head, which training then initialises.

    Returns:
      NumPy arrays, views of a file's tensors where possible.

    Raises:
      UserError: if the path does not exist, is damaged, or does not fit the system.
    """
    if not str(path):
        raise UserError(
            "config.checkpoint is empty; name a .pth or .safetensors file of the system, the DIR"
            " that it was converted to by: tokmerge convert --config CONFIG --source FILE"
            " --target DIR, or known weights as hub:NAME (tokmerge weights lists them)"
        )
    path, shapes = epath.Path(hub.local(path)), system.weights.shapes

    def table_of(tensors: rules.StateDict) -> rules.RuleSet:
        chosen = table(system, tensors)
        if not to_train:
            return chosen
        chosen = rules.restarted(chosen, tensors, shapes)
        if groups := rules.initialised(chosen, shapes):
            print(
                f"{path} holds nothing that fits {groups}; training starts from their initial"
                " values",
                file=sys.stderr,
            )
        return chosen

    if path.is_dir() and not torch_file.is_folder(path):
        _check_constants(path, system)
        return checkpoint.load(path, shapes, table_of, to_train=to_train)
    tensors = torch_file.read(path)
    origin = f"the weights of {path}"
    return rules.load(table_of(tensors), tensors, shapes, origin, to_train=to_train)


def save_checkpoint(
    path: epath.PathLike,
    params: Params,
    system: System,
    origin: Mapping[str, Json] | None = None,
) -> None:
    """Writes weights and constants into a new folder, for `load_checkpoint`.

    Args:
      path: the folder.
      params: the parameters.
      system: their system; its constants are written beside them.
      origin: further constants, for example the file that the weights come from.

    Raises:
      UserError: if the folder already holds weights.
    """
    constants = {"system": system.name, **system.pixels.constants, **(origin or {})}
    checkpoint.save(path, params, constants)


def _check_constants(path: epath.Path, system: System) -> None:
    """Raises UserError for weights made for other pixel statistics, which would silently fail."""
    stored = checkpoint.constants(path)
    for key, ours in (("mean", [*system.pixels.mean]), ("std", [*system.pixels.std])):
        if key in stored and not _are_equal(stored[key], ours):
            raise UserError(
                f"checkpoint {path} was made for pixels with {key} {stored[key]!r:.100}, but"
                f" {system.name} uses {ours}; use the configuration of this checkpoint"
            )


def _are_equal(stored: object, ours: list[float]) -> bool:
    """Whether a stored value, which may have any type, equals our numbers."""
    try:
        return np.allclose(np.asarray(stored, float), ours)
    except (TypeError, ValueError):
        return False
