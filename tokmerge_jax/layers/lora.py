"""LoRA: low-rank changes of attention's projections, which can be added to the weights later.

Source: LoRA (ICLR 2022), in the form that TempMe (ICLR 2025) trains: one `down` matrix for queries,
keys and values, no scale, no dropout.
"""

import math
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tokmerge_jax.layers.functional import Dense
from tokmerge_jax.types import Params

PROJECTIONS = ("query", "key", "value")


class LoRA(nn.Module):
    """The change of a query, key or value: its own `up` matrix after a common `down`.

    Attributes:
      rank: the width between the two matrices.
      width: number of channels of each result.
      dtype: dtype of the computation.
    """

    rank: int
    width: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:  # noqa: D102
        self.down = Dense(
            self.rank, use_bias=False, dtype=self.dtype, kernel_init=_uniform_by_inputs
        )
        zeros = nn.initializers.zeros_init()
        up = {"use_bias": False, "dtype": self.dtype, "kernel_init": zeros}
        self.query = Dense(self.width, **up)
        self.key = Dense(self.width, **up)
        self.value = Dense(self.width, **up)

    def __call__(self, x: Float[Array, "B N C"], projection: str) -> Float[Array, "B N D"]:
        """Returns the change of one of `PROJECTIONS`."""
        return getattr(self, projection)(self.down(x))


def merge_lora(params: Params) -> Params:
    """Adds the changes of every `lora` in a parameter tree to the kernels beside it.

    With the result, the network without LoRA computes the same in less time. A tree without LoRA is
    returned unchanged.
    """
    merged = {
        name: merge_lora(part) if isinstance(part, Mapping) else part
        for name, part in params.items()
        if name != "lora"
    }
    if "lora" in params:
        down = params["lora"]["down"]["kernel"]
        for name in PROJECTIONS:
            change = jnp.dot(
                down, params["lora"][name]["kernel"], precision=jax.lax.Precision.HIGHEST
            )
            merged[name] = {**merged[name], "kernel": merged[name]["kernel"] + change}
    return merged


def _uniform_by_inputs(
    key: jax.Array, shape: tuple[int, int], dtype: DTypeLike = jnp.float32
) -> jax.Array:
    """Draws uniformly within +-1 / sqrt(inputs): Kaiming's initialisation of slope sqrt(5)."""
    bound = 1 / math.sqrt(shape[0])
    return jax.random.uniform(key, shape, dtype, -bound, bound)
