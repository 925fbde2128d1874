"""Our own weights on disk: an orbax folder `params` beside `constants.json`."""

import contextlib
import json
import logging
import pathlib
import warnings
from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np
from etils import epath

from tokmerge_jax import disk, hosts
from tokmerge_jax.checkpoints import rules
from tokmerge_jax.types import Json, Params, UserError

_LOST = (FileNotFoundError, NotADirectoryError, IsADirectoryError)  # raised where files are missing


def save(path: epath.PathLike, params: Params, constants: Mapping[str, Json]) -> None:
    """Writes weights and constants (JSON values) into the folder `path`, in this process alone.

    `constants.json` is written last: a folder without it is incomplete and is overwritten.

    Raises:
      UserError: if the folder already holds weights, or cannot be written.
    """
    import orbax.checkpoint as ocp  # takes a while, and other checkpoints do not need it

    path = epath.Path(path).absolute()
    if (path / "constants.json").exists():
        raise UserError(f"{path} already holds weights; remove it, or name another folder")
    with disk.explained(path):
        path.mkdir(parents=True, exist_ok=True)
        if (local := pathlib.Path(path)).is_dir():
            disk.check_room(local, sum(leaf.nbytes for leaf in jax.tree.leaves(params)))
        own = hosts.number()
        alone = ocp.options.MultiprocessingOptions(
            primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"process_{own}"
        )
        with ocp.StandardCheckpointer(multiprocessing_options=alone) as writer:
            writer.save(path / "params", dict(params), force=True)
        (path / "constants.json").write_text(json.dumps(dict(constants), indent=1) + "\n")


def constants(path: epath.PathLike) -> dict[str, Json]:
    """Reads the constants that `save` wrote beside the weights.

    Raises:
      UserError: if `path` is not a complete folder of `save`.
    """
    file = epath.Path(path) / "constants.json"
    if not file.exists():
        raise UserError(
            f"checkpoint {path} has no constants.json: it is not a complete folder of"
            " tokmerge convert; convert the weights again"
        )
    with _explained(path):
        stored = json.loads(file.read_bytes())
        if not isinstance(stored, dict):
            raise ValueError("its constants.json is not a JSON object")
        return stored


def load(
    path: epath.PathLike,
    abstract_params: Params,
    table_of: Callable[[rules.StateDict], rules.RuleSet],
    *,
    to_train: bool = False,
) -> Params:
    """Loads the weights that `save` wrote, as NumPy arrays.

    Args:
      path: the folder.
      abstract_params: the expected tree, leaves with `shape` and `dtype`.
      table_of: stored weights -> the rules that convert their names.
      to_train: see `rules.load`.

    Raises:
      UserError: if weights are missing, or names or shapes differ from `abstract_params`.
    """
    import orbax.checkpoint as ocp  # as in `save`

    constants(path)
    folder = epath.Path(path).absolute() / "params"
    with _explained(path), _unlogged(), ocp.StandardCheckpointer() as reader:
        stored = reader.metadata(folder).item_metadata
        empty = jax.tree.map(  # arrays that take no memory
            lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape),
            getattr(stored, "tree", stored),
        )
        if not isinstance(empty, Mapping):
            raise ValueError("the list of its weights cannot be read")
        table, origin = table_of(rules.flatten(empty)), f"the weights of {path}"
        with warnings.catch_warnings(action="ignore"):  # they come with the weights themselves
            rules.load(table, rules.flatten(empty), abstract_params, origin, to_train=to_train)
        tensors = rules.flatten(reader.restore(folder, empty))
    return rules.load(table, tensors, abstract_params, origin, to_train=to_train)


@contextlib.contextmanager
def _explained(path: epath.PathLike) -> Iterator[None]:
    """Turns any error of reading into a UserError: a refusal of the machine, or damage."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # orbax and tensorstore raise many kinds of errors at damaged bytes
        if disk.refusal(error) is not None and not isinstance(error, _LOST):
            with disk.explained(path):
                raise
        message = " ".join(f"{error}".split())[:200] or type(error).__name__
        raise UserError(
            f"checkpoint {path} is damaged ({message}); copy it again, or convert the weights again"
        ) from error


@contextlib.contextmanager
def _unlogged() -> Iterator[None]:
    """Keeps orbax from logging errors that are also raised."""
    logger = logging.getLogger("absl")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
