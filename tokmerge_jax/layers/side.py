"""The block of a side network: a gated convolution over time, attention in frames, and an MLP.

Source: Side4Video (arXiv 2311.15769); the gate is the TD-Adapter of TDS-CLIP (arXiv 2408.10688).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tokmerge_jax.layers.attention import Attention
from tokmerge_jax.layers.batch_norm import BatchNorm
from tokmerge_jax.layers.functional import MLP, Dense

EPSILON = 1e-5
"""Epsilon of the layer norms."""

_REDUCTION = 16
_HEAD_WIDTH = 64


class SideBlock(nn.Module):
    """x += gate(convolution(norm(x))); x += attention(norm(x)); x += MLP(norm(x)).

    Attention is within a frame. Its keys are the frame's patches and a class token, half of whose
    channels come from the next frame's class token and half from the previous one's. Positions are
    added to the input of attention only.

    Attributes:
      gated: whether differences in time gate the convolution's result; Side4Video has no gate.
      dtype: dtype of the computation.
    """

    gated: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T N D"],
        class_tokens: Float[Array, "B T D"],
        positions: Float[Array, "B T N D"],
        train: bool = False,
    ) -> Float[Array, "B T N D"]:
        """Applies the block.

        Args:
          x: the frames' patches.
          class_tokens: the frames' class tokens.
          positions: embeddings of the patches' positions.
          train: whether to norm by the statistics of this batch, and to update the running ones.
        """
        y = BatchNorm(dtype=self.dtype, name="convolution_norm")(x, train)
        y = TemporalConvolution(dtype=self.dtype, name="convolution")(y)
        x += DifferenceGate(dtype=self.dtype, name="gate")(y, train) if self.gated else y
        x += self._attention(x, shifted(class_tokens), positions)
        y = BatchNorm(dtype=self.dtype, name="mlp_norm")(x, train)
        width = x.shape[-1]
        return x + MLP(4 * width, width, dtype=self.dtype, name="mlp")(y)

    def _attention(self, x: jax.Array, class_tokens: jax.Array, positions: jax.Array) -> jax.Array:
        """Attends from each patch to its frame's patches and its neighbours' class tokens."""
        width = x.shape[-1]
        placed = x + positions.astype(x.dtype)
        keys = jnp.concatenate([class_tokens[:, :, None], placed], axis=2)
        keys = rearrange(keys, "b t n d -> (b t) n d")
        keys = nn.LayerNorm(EPSILON, dtype=self.dtype, name="attention_norm")(keys)
        attention = Attention(width // _HEAD_WIDTH, width, dtype=self.dtype, name="attention")
        y, _ = attention.attend(keys[:, 1:], attention.keys_values(keys))
        return rearrange(y, "(b t) n d -> b t n d", b=len(x))


class TemporalConvolution(nn.Module):
    """out(taps * hidden(x)): a depthwise convolution over three frames between two linear layers.

    Attributes:
      dtype: dtype of the computation.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B T N D"]) -> Float[Array, "B T N D"]:
        """Convolves; the result of `hidden` is 0 before the first frame and after the last."""
        width = x.shape[-1]
        x = Dense(width, dtype=self.dtype, name="hidden")(x)
        taps = self.param("taps", nn.initializers.lecun_normal(), (3, width)).astype(x.dtype)
        bias = self.param("bias", nn.initializers.zeros_init(), (width,)).astype(x.dtype)
        before, now, after = taps[:, None, None, None]
        x = (
            _shift_in_time(x, 1) * before
            + x * now
            + _shift_in_time(x, -1) * after
            + bias[None, None, None]
        )
        return Dense(width, dtype=self.dtype, name="out")(x)


class DifferenceGate(nn.Module):
    """Multiplies x by a factor in (1/2, 3/2) that depends on differences in time.

    A difference is a value minus the largest of itself and its two neighbours in time, at the same
    place; it is never positive.

    Attributes:
      dtype: dtype of the computation.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B T N D"], train: bool = False) -> Float[Array, "B T N D"]:
        """Gates patches, which are at the same places in all frames.

        Differences are float32, since half precision would lose those of slow motion.
        """
        width = x.shape[-1]
        reduce = Dense(width // _REDUCTION, use_bias=False, name="reduce")
        v = BatchNorm(name="reduce_norm")(reduce(x), train)
        previous, following = (_shift_in_time(v, by, -jnp.inf) for by in (1, -1))
        h = v - jnp.maximum(v, jnp.maximum(previous, following))
        h = 0.5 * h + 0.5 * h.mean(axis=-1, keepdims=True)
        h = Dense(width, use_bias=False, dtype=self.dtype, name="expand")(h)
        z = BatchNorm(dtype=self.dtype, name="expand_norm")(h, train)
        return x + x * (nn.sigmoid(z) - 0.5)


def shifted(class_tokens: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
    """Joins half the channels of the next frame and half of the previous one; zeros at the ends."""
    half = class_tokens.shape[-1] // 2
    following = _shift_in_time(class_tokens[..., :half], -1)
    previous = _shift_in_time(class_tokens[..., half:], 1)
    return jnp.concatenate([following, previous], axis=-1)


def over_time(x: Float[Array, "B T N 3 D"]) -> Float[Array, "B T N D"]:
    """Adds x[t-1,...,0,:], x[t,...,1,:] and x[t+1,...,2,:], with zeros beyond the ends.

    This is the last step of a convolution over three frames, after each of its three taps was
    applied to each frame.
    """
    return _shift_in_time(x[..., 0, :], 1) + x[..., 1, :] + _shift_in_time(x[..., 2, :], -1)


def _shift_in_time(x: jax.Array, by: int, fill: float = 0.0) -> jax.Array:
    """Shifts x [B,T,...] by a number of frames (back if negative); the gap is `fill`."""
    length = x.shape[1]
    widths = [(0, 0), (max(by, 0), max(-by, 0))] + [(0, 0)] * (x.ndim - 2)
    start = max(-by, 0)
    return jnp.pad(x, widths, constant_values=fill)[:, start : start + length]
