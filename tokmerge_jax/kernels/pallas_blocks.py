"""Helpers of Pallas kernels that work on square blocks of an attention map."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu, triton

BLOCK = 128
"""Number of rows and of columns of a block: the part of a map that one program holds."""

Target = Literal["gpu", "tpu", "interpret"]
"""The target of a kernel; "interpret" runs it as XLA operations on any platform, slowly."""


def call(
    kernel: Callable[..., None],
    arrays: Sequence[jax.Array],
    *,
    target: Target,
    grid: tuple[int, ...],
    inputs: Sequence[pl.BlockSpec],
    outputs: Sequence[tuple[pl.BlockSpec, jax.ShapeDtypeStruct]],
    name: str,
) -> tuple[jax.Array, ...]:
    """Calls `pl.pallas_call` for the target; all programs of the grid are independent."""
    specs, shapes = zip(*outputs, strict=True)
    run = pl.pallas_call(
        kernel,
        out_shape=shapes,
        grid=grid,
        in_specs=list(inputs),
        out_specs=specs,
        interpret=target == "interpret",
        compiler_params=_options(target, len(grid)),
        name=name,
    )
    return tuple(run(*arrays))


def _options(target: Target, axes: int) -> Any:  # the targets' classes share no parent
    if target == "gpu":
        return triton.CompilerParams(num_warps=8, num_stages=2)
    return tpu.CompilerParams(dimension_semantics=("parallel",) * axes)


def part(block: jax.Array) -> Any:  # Pallas names no type of it
    """Returns the slice of the rows of block number `block`, a loop's counter."""
    return pl.ds(pl.multiple_of(block * BLOCK, BLOCK), BLOCK)


def padded(x: jax.Array, axis: int) -> jax.Array:
    """Pads `axis` of x with zeros to a multiple of `BLOCK`."""
    widths = [(0, 0)] * x.ndim
    widths[axis] = 0, -x.shape[axis] % BLOCK
    return jnp.pad(x, widths)


def dot(a: jax.Array, b: jax.Array, axes: tuple[int, int]) -> jax.Array:
    """Multiplies matrices over one axis of each; sums in float32, exactly for float32 inputs."""
    exact = lax.Precision.HIGHEST if a.dtype == jnp.float32 else lax.Precision.DEFAULT
    contracted = ((axes[0],), (axes[1],)), ((), ())
    return lax.dot_general(a, b, contracted, exact, preferred_element_type=jnp.float32)


def as_row(column: jax.Array) -> jax.Array:
    """Turns [BLOCK,1] into [1,BLOCK], as the sum of a masked square, which all targets support."""
    return jnp.where(_diagonal(), column, 0).sum(axis=0, keepdims=True)


def as_column(row: jax.Array) -> jax.Array:
    """Turns [1,BLOCK] into [BLOCK,1]."""
    return jnp.where(_diagonal(), row, 0).sum(axis=1, keepdims=True)


def _diagonal() -> jax.Array:
    rows, columns = (lax.broadcasted_iota(jnp.int32, (BLOCK, BLOCK), axis) for axis in (0, 1))
    return rows == columns
