"""The error for bad input, which depends on no other part of the package."""

import os
from collections.abc import Collection


class UserError(ValueError):
    """Bad input from outside: the message names the file or option, the fault and the remedy.

    Scripts print only the message, without a stack trace.
    """


def check_list(
    items: object, what: str, kind: type | tuple[type, ...] = (str, os.PathLike)
) -> None:
    """Checks that `items` is a non-empty list, not a single string, with items of type `kind`.

    Args:
      items: the list.
      what: what it holds, for example "videos".
      kind: the type of its items.

    Raises:
      UserError: if it is a string, empty, or not a list, or an item has another type.
    """
    if isinstance(items, str | bytes) or not isinstance(items, Collection) or not len(items):
        raise UserError(f"{items!r:.60} is not a list of {what}; give them as [...]")
    for item in items:
        if not isinstance(item, kind):
            raise UserError(f"{item!r:.60} in the list of {what} is of type {type(item).__name__}")


def path(value: object, name: str) -> str:
    """Returns a path as text.

    Args:
      value: the path.
      name: the name of its parameter, for the message.

    Raises:
      UserError: if it is not a path.
    """
    if not isinstance(value, str | os.PathLike):
        raise UserError(f"{name}={value!r:.60} is not a path; give a string or a path")
    return os.fspath(value)
