"""What systems are trained for: a plain function of a bound network, a batch and a key each.

An objective's first argument binds the network; with the keyword arguments that a configuration
sets it is a `signatures.Loss` or a `signatures.StatefulLoss`.
"""

from collections.abc import Callable
from typing import TypeVar

import flax.linen as nn
import jax

from tokmerge_jax.types import Params

M = TypeVar("M", bound=nn.Module)

Normalise = Callable[[jax.Array], jax.Array]
"""Makes frames what a network reads."""


def bound(network: M) -> Callable[[Params, jax.Array], M]:
    """`(params, key) -> ` the network with these parameters, its dropout random by `key`."""

    def bind(params: Params, key: jax.Array) -> M:
        return network.bind({"params": params}, rngs={"dropout": key})

    return bind
