"""Training objectives: plain functions of a bound network, a batch and a key.

The first argument of an objective binds the network. With its keyword arguments set from a
configuration, it is a `signatures.Loss` or a `signatures.StatefulLoss`.
"""

from collections.abc import Callable
from typing import TypeVar

import flax.linen as nn
import jax

from tokmerge_jax.types import Params

M = TypeVar("M", bound=nn.Module)

Normalise = Callable[[jax.Array], jax.Array]
"""Frames -> the normalised pixels that a network reads."""


def bound(network: M) -> Callable[[Params, jax.Array], M]:
    """Returns `(params, key) ->` the network bound to parameters and to the key of its dropout."""

    def bind(params: Params, key: jax.Array) -> M:
        return network.bind({"params": params}, rngs={"dropout": key})

    return bind
