"""The error of an index that cannot be used."""

import pathlib

from tokmerge_jax.types import UserError


class DamageError(UserError):
    """An index cannot be read."""


def damaged(folder: pathlib.Path, reason: str) -> DamageError:
    """The error of the index in `folder`, whose table or settings cannot be read."""
    return DamageError(
        f"{folder}/videos.lance is damaged, or not written by tokmerge search ({reason}); index"
        " again into another folder"
    )
