"""Parameters of tests of which some run as slow ones."""

import pytest


def slow(values, which):
    """The values as parameters; those for which `which` holds are slow."""
    return [pytest.param(x, marks=[pytest.mark.slow] * bool(which(x))) for x in values]
