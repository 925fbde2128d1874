"""Copies of a run's log for TensorBoard, Weights & Biases or trackio, beside `metrics.jsonl`."""

import importlib
import os
from collections.abc import Callable, Mapping

from tokmerge_jax import objects
from tokmerge_jax.objects import Place
from tokmerge_jax.types import Json, UserError

Copy = Callable[[int, Mapping[str, float]], None]
"""Takes the number of a step, counted from 0, and its scalars."""

_PACKAGES = {"tensorboard": "tensorboardX", "trackio": "trackio", "wandb": "wandb"}


def copy_for(kind: str, folder: Place, settings: Mapping[str, Json], step: int) -> Copy | None:
    """Opens the log that `config.train.log` names; None for "".

    Args:
      kind: "", "tensorboard", "trackio" or "wandb".
      folder: the run's folder; TensorBoard's files are in `tensorboard/` in it, and its path names
        the run elsewhere.
      settings: the run's settings.
      step: the step at which the run begins or resumes.

    Raises:
      UserError: if the package is not installed, or TensorBoard's files cannot be in the folder,
        which is on an object store.
    """
    if not kind:
        return None
    try:
        library = importlib.import_module(_PACKAGES[kind])
    except ImportError as error:
        raise UserError(
            f"config.train.log={kind} needs the package {_PACKAGES[kind]}; run `pip install"
            f" 'tokmerge_jax[{kind}]'`, or leave it out: metrics.jsonl has the same numbers"
        ) from error
    if kind == "tensorboard":
        place = objects.local(folder, "the files of config.train.log=tensorboard") / kind
        writer = library.SummaryWriter(os.fspath(place), purge_step=step)

        def add(step: int, scalars: Mapping[str, float]) -> None:
            for name, value in scalars.items():
                writer.add_scalar(name, value, step)

        return add
    name = os.path.relpath(folder).replace(os.sep, "-")
    library.init(project="tokmerge_jax", name=name, config=dict(settings), resume="allow")
    return lambda step, scalars: library.log(dict(scalars), step=step)
