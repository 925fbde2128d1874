"""Parameters of tests of which some run as slow ones."""

import pytest


def slow(values, which):
    """The values, or tuples of values, as parameters; those for which `which` holds are slow."""
    rows = [
        (x if isinstance(x, tuple) else (x,), [pytest.mark.slow] * bool(which(x))) for x in values
    ]
    return [pytest.param(*row, marks=marks) for row, marks in rows]
