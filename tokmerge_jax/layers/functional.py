"""Functions that several networks share: linear layers, activations, patches, position tables."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike
from jaxtyping import Array, Float


def product(
    x: Float[Array, "*any C"],
    kernel: Float[Array, "C D"],
    dimension_numbers: object = None,
    precision: jax.lax.PrecisionLike = None,
) -> Float[Array, "*any D"]:
    """Computes `x @ kernel` as one product of two matrices; fits as Flax's `dot_general`.

    With more axes than two, XLA transposes one side for the gradient of the kernel, which takes up
    to an eighth of the product's own time.
    """
    del dimension_numbers  # a linear layer has only one choice of them
    rows = jax.lax.dot(x.reshape(-1, x.shape[-1]), kernel, precision=precision)  # [rows,D]
    return rows.reshape(*x.shape[:-1], kernel.shape[-1])


Dense = functools.partial(nn.Dense, dot_general=product)
"""Flax's linear layer, whose product is `product`."""


def fused_dense_dense(
    first: nn.Dense, second: nn.Dense, x: Float[Array, "*any C"]
) -> Float[Array, "*any D"]:
    """Computes `second(first(x))` with one kernel, the product of both.

    The kernels are multiplied once; without this, all of `x` is multiplied twice.
    """
    if first.is_initializing():
        return second(first(x))
    own, next_ = (layer.variables["params"] for layer in (first, second))
    kernel = own["kernel"] @ next_["kernel"]
    bias = own["bias"] @ next_["kernel"] + next_["bias"]
    return _linear(x, kernel, bias, second.dtype)


def fused_norm_dense(norm: nn.LayerNorm, linear: nn.Dense, x: Float[Array, "*any C"]) -> Array:
    """Computes `linear(norm(x))` with the norm's scale and bias folded into the linear layer.

    Where x needs no gradient, this saves the product that the gradients of scale and bias need.
    """
    if norm.is_initializing():
        return linear(norm(x))
    plain = nn.LayerNorm(norm.epsilon, dtype=linear.dtype, use_bias=False, use_scale=False)
    own, next_ = (layer.variables["params"] for layer in (norm, linear))
    kernel = own["scale"][:, None] * next_["kernel"]
    bias = own["bias"] @ next_["kernel"] + next_["bias"]
    return _linear(plain(x), kernel, bias, linear.dtype)


def _linear(x: jax.Array, kernel: jax.Array, bias: jax.Array, dtype: DTypeLike | None) -> jax.Array:
    x, kernel, bias = promote_dtype(x, kernel, bias, dtype=dtype)
    return product(x, kernel) + jnp.expand_dims(bias, range(x.ndim - 1))


@jax.custom_vjp
def gelu(x: Float[Array, "*any C"]) -> Float[Array, "*any C"]:
    """GELU in its exact (erf) form, computed in float32; its backward pass stores only x."""
    wide = x.astype(jnp.float32)
    return (wide * _below(wide)).astype(x.dtype)


def _below(x: jax.Array) -> jax.Array:
    """Returns P(normal < x). `erfc`, which is exact far below 0, would take three times as long."""
    return 0.5 + 0.5 * jax.lax.erf(x * 0.5**0.5)


def _gelu_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return gelu(x), x


def _gelu_backward(x: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    wide = x.astype(jnp.float32)
    density = jnp.exp(-0.5 * wide * wide) * (2 * jnp.pi) ** -0.5
    return ((gradient * (_below(wide) + wide * density)).astype(x.dtype),)


gelu.defvjp(_gelu_forward, _gelu_backward)


def quick_gelu(x: Float[Array, "*any C"]) -> Float[Array, "*any C"]:
    """Computes x sigmoid(1.702 x), the activation of OpenAI's CLIP."""
    return x * jax.nn.sigmoid(1.702 * x)


def unit(x: Float[Array, "*any E"]) -> Float[Array, "*any E"]:
    """Scales vectors to unit norm (float32); without an epsilon, so a zero vector becomes NaN."""
    x = x.astype(jnp.float32)
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def patchify(video: Float[Array, "B T H W C"], edge: int) -> Float[Array, "B N D"]:
    """Cuts each frame into patches of `edge` x `edge` pixels.

    Patches come in order of frame, row, column; each is flattened as row, column, colour. A dense
    layer on them equals a convolution whose kernel and stride are the patch.
    """
    return rearrange(video, "b t (h i) (w j) c -> b (t h w) (i j c)", i=edge, j=edge)


def sincos(positions: int, width: int) -> np.ndarray:
    """Returns the fixed table of "Attention Is All You Need", float32 [positions, width].

    Channel j of position p has the angle p / 10000^(2 floor(j/2) / width): its sine where j is
    even, its cosine where j is odd.
    """
    channel = np.arange(width)
    angle = np.arange(positions)[:, None] / 10000 ** (2 * (channel // 2) / width)
    return np.where(channel % 2 == 0, np.sin(angle), np.cos(angle)).astype(np.float32)


def space_time(patches: int, width: int, frames: int, table_frames: int) -> np.ndarray:
    """Returns UMT's table for frames of `patches` patches, float32 [frames*patches, width].

    If `frames` is not the checkpoint's number of frames, the table of `table_frames` frames is
    interpolated linearly over time (half-pixel centres). A single frame has a table of its own.
    Source: UMT (ICCV 2023), `ckpt_num_frame`.
    """
    if frames in (1, table_frames):
        return sincos(frames * patches, width)
    table = rearrange(sincos(table_frames * patches, width), "(t p) c -> t p c", p=patches)
    return rearrange(_resample(table, frames), "t p c -> (t p) c")


def _resample(table: np.ndarray, frames: int) -> np.ndarray:
    """Interpolates [N,...] linearly over its first axis; the edges are repeated outside."""
    length = len(table)
    place = np.clip((np.arange(frames) + 0.5) * length / frames - 0.5, 0, length - 1)
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, length - 1)
    share = (place - low).astype(np.float32)[:, None, None]
    return (1 - share) * table[low] + share * table[high]


def nearest(table: Float[Array, "T C"], length: int) -> Float[Array, "M C"]:
    """Reads a learned table at `length` places: row floor(i T / length) at place i."""
    return table[_nearest(len(table), length)]


def nearest_grid(table: Float[Array, "N C"], edge: int) -> Float[Array, "M C"]:
    """Reads the learned table of a square grid, row by row, at a grid of `edge` x `edge`."""
    rows = math.isqrt(len(table))
    place = _nearest(rows, edge)
    return table[(rows * place[:, None] + place[None]).ravel()]


def _nearest(rows: int, length: int) -> np.ndarray:
    return np.arange(length) * rows // length
