"""Batch norm as in PyTorch, where the running variance is unbiased."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PyTree

EPSILON = 1e-5
_MOMENTUM = 0.9


class BatchNorm(nn.Module):
    """Scales channels to mean 0 and variance 1, by the batch in training, by running values else.

    A training step updates the collection "batch_stats" {mean, var}: 0.9 of the old values plus 0.1
    of the batch's mean and unbiased variance (Flax's own layer uses the biased one). The batch
    itself is normed by its biased variance. Under `jax.jit`, the batch is that of all devices.

    Source: Batch Normalization (ICML 2015).

    Attributes:
      dtype: dtype of the result; statistics and the norm itself are float32.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*any C"], train: bool = False) -> Float[Array, "*any C"]:
        """Norms x; statistics are taken over all axes but the last."""
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones_init(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), shape)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        mean, var = (jnp.asarray(x.value) for x in (running_mean, running_var))
        scale, bias = jnp.asarray(scale), jnp.asarray(bias)
        rows = x.astype(jnp.float32).reshape(-1, x.shape[-1])  # [N,C]
        if train:
            y, batch_mean, biased = _normed_by_batch(rows, scale, bias)
            if not self.is_initializing():
                unbiased = biased * (len(rows) / (len(rows) - 1))
                running_mean.value = _MOMENTUM * mean + (1 - _MOMENTUM) * batch_mean
                running_var.value = _MOMENTUM * var + (1 - _MOMENTUM) * unbiased
        else:
            y = _normed(rows, mean, var, scale, bias)
        return y.reshape(x.shape).astype(self.dtype)


def _normed(
    x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array
) -> jax.Array:
    factor = scale * jax.lax.rsqrt(var + EPSILON)
    return (x - mean[None]) * factor[None] + bias[None]


@jax.custom_vjp
def _normed_by_batch(
    x: Float[Array, "N C"], scale: Float[Array, " C"], bias: Float[Array, " C"]
) -> tuple[Float[Array, "N C"], Float[Array, " C"], Float[Array, " C"]]:
    """Norms rows; returns them, and each channel's mean and biased variance, without gradients.

    The backward pass stores only x, mean and variance.
    """
    mean, var = x.mean(axis=0), x.var(axis=0)
    return _normed(x, mean, var, scale, bias), mean, var


def _forward(x: jax.Array, scale: jax.Array, bias: jax.Array) -> tuple[PyTree, PyTree]:
    y, mean, var = _normed_by_batch(x, scale, bias)
    return (y, mean, var), (x, mean, var, scale)


def _backward(kept: PyTree, gradients: PyTree) -> tuple[jax.Array, jax.Array, jax.Array]:
    (x, mean, var, scale), (gradient, _, _) = kept, gradients
    deviation = jax.lax.rsqrt(var + EPSILON)
    unit = (x - mean[None]) * deviation[None]
    of_bias, of_scale = gradient.sum(axis=0), (gradient * unit).sum(axis=0)
    rest = gradient - (of_bias[None] + unit * of_scale[None]) / len(x)
    return (scale * deviation)[None] * rest, of_scale, of_bias


_normed_by_batch.defvjp(_forward, _backward)
