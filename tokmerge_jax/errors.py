"""The error of bad input, which needs no other part of the package."""


class UserError(ValueError):
    """Bad input from outside: the message names the file or option, the fault and the cure.

    Scripts print the message alone, without a stack trace.
    """
