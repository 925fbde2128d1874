"""The error of bad input, which needs no other part of the package."""

from collections.abc import Sized


class UserError(ValueError):
    """Bad input from outside: the message names the file or option, the fault and the cure.

    Scripts print the message alone, without a stack trace.
    """


def check_list(items: Sized, what: str) -> None:
    """Refuses a text alone, which is a sequence of letters, and nothing at all.

    Args:
      items: what should be a list.
      what: it should hold, for example "videos".

    Raises:
      UserError: if it is none, or empty.
    """
    if isinstance(items, str) or not len(items):
        raise UserError(f"{items!r:.60} is no list of {what}; give them as [...]")
