"""Finds the demo's weights and vocabularies, which are in a separate package, `tokmerge_jax_demo`.

They take 34 MB, the library 1 MB. A checkout has them in `demo/`; elsewhere, install that folder.
"""

import importlib.util
import pathlib

from etils import epath

from tokmerge_jax.errors import UserError

_PACKAGE = "tokmerge_jax_demo"


def path(name: str) -> str:
    """The path of the demo's file `name`, for `checkpoint` and `data.vocabulary`.

    The file is in this library's checkout (weights of the same commit) or else in the installed
    package. If neither exists, a path is returned all the same: building a configuration needs no
    file, its user may set another one, and `check_installed` reports a missing file on reading.
    """
    folder = pathlib.Path(__file__).parents[1] / "demo" / _PACKAGE
    package = None if folder.is_dir() else importlib.util.find_spec(_PACKAGE)
    if package is not None and package.origin:
        folder = pathlib.Path(package.origin).parent
    return str(folder / name)


def check_installed(missing: epath.PathLike) -> None:
    """Raises UserError, with the command to run, if `missing` is in the absent demo package."""
    folder = pathlib.Path(missing).parent
    if folder.name == _PACKAGE and not folder.is_dir():
        raise UserError(
            "the demo's weights and vocabularies are not installed; run `pip install ./demo` in a"
            " checkout of tokmerge_jax, or name files of your own as config.checkpoint and"
            " config.data.vocabulary"
        )
