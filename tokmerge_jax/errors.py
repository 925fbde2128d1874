"""The error of bad input, which needs no other part of the package."""

import os
from collections.abc import Collection


class UserError(ValueError):
    """Bad input from outside: the message names the file or option, the fault and the cure.

    Scripts print the message alone, without a stack trace.
    """


def check_list(
    items: object, what: str, kind: type | tuple[type, ...] = (str, os.PathLike)
) -> None:
    """Refuses what is no list of such items: a text alone, for example, is a sequence of letters.

    Args:
      items: what should be a list.
      what: it should hold, for example "videos".
      kind: of its items.

    Raises:
      UserError: if it is none, or empty, or an item is of another kind.
    """
    if isinstance(items, str | bytes) or not isinstance(items, Collection) or not len(items):
        raise UserError(f"{items!r:.60} is no list of {what}; give them as [...]")
    for item in items:
        if not isinstance(item, kind):
            raise UserError(f"{item!r:.60} in the list of {what} is of type {type(item).__name__}")


def path(value: object, name: str) -> str:
    """A path as text.

    Args:
      value: what should be a path.
      name: of the parameter that it was given for.

    Raises:
      UserError: if it is none.
    """
    if not isinstance(value, str | os.PathLike):
        raise UserError(f"{name}={value!r:.60} is no path; give a string or a path")
    return os.fspath(value)
