"""The reference's mergers at the edges: r beyond the largest, equal tokens, zero vectors."""

import golden
import jax.numpy as jnp
import numpy as np
import recipe

EDGES = golden.load("mergers-edges")


def keys(method):
    """The cases METHOD/INPUT/rR/cC of one method."""
    cases = {key.rpartition("/")[0] for key in EDGES.arrays}
    return sorted(case for case in cases if case.split("/")[0] == method)


def case(key):
    """The tokens [1,8,4], r, the number of protected tokens and what the definition gives."""
    _, kind, r, protected = key.split("/")
    x = recipe.video((1, 8, 4), EDGES.spec["seed"])
    if kind == "equal":
        x = np.ones_like(x)
    elif kind == "zero":
        x[:, [1, 4]] = 0
    expected = {
        name.rpartition("/")[2]: value
        for name, value in EDGES.arrays.items()
        if name.rpartition("/")[0] == key
    }
    return jnp.asarray(x), int(r[1:]), int(protected[1:]), expected
