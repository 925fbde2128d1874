"""Where the demo's weights and vocabularies are: in a package of their own, `tokmerge_jax_demo`.

They are 25 MB, the library is 1 MB: a checkout has them in `demo/`, others install that folder.
"""

import importlib.util
import pathlib

from etils import epath

from tokmerge_jax.errors import UserError

_PACKAGE = "tokmerge_jax_demo"


def path(name: str) -> str:
    """The path of the demo's file `name`, for `checkpoint` and `data.vocabulary`.

    The file is in this library's own checkout (weights of the same commit), else in the installed
    package. Where neither exists, a path is returned all the same: a configuration needs no file,
    its user may set another one, and `check_installed` reports what is missing when it is read.
    """
    folder = pathlib.Path(__file__).parents[1] / "demo" / _PACKAGE
    package = None if folder.is_dir() else importlib.util.find_spec(_PACKAGE)
    if package is not None and package.origin:
        folder = pathlib.Path(package.origin).parent
    return str(folder / name)


def check_installed(missing: epath.PathLike) -> None:
    """Raises UserError, with the command to run, if a file is missing as the demo's package is."""
    folder = pathlib.Path(missing).parent
    if folder.name == _PACKAGE and not folder.is_dir():
        raise UserError(
            "the demo's weights and vocabularies are not installed; run `pip install ./demo` in a"
            " checkout of tokmerge_jax, or name files of your own as config.checkpoint and"
            " config.data.vocabulary"
        )
