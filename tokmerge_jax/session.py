"""Checks the Python session of a notebook, in which packages may just have been installed."""

import importlib.metadata
import sys

from tokmerge_jax.errors import UserError

_PACKAGES = ("flax", "jax", "jaxlib", "matplotlib", "numpy", "pyarrow", "scipy", "tokmerge_jax")


def check_session() -> None:
    """Checks that the packages which this session has imported are those that are installed.

    Raises:
      UserError: if an installation has replaced one of them since.
    """
    for name in _PACKAGES:
        imported = getattr(sys.modules.get(name), "__version__", None)
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # it is only on the path
            continue
        if imported and installed and imported != installed:
            raise UserError(
                f"this session has imported {name} {imported}, and {installed} is installed now;"
                " restart the session (in Colab: Runtime, Restart session) and run this cell again"
            )
