"""Attention by cuDNN, on a GPU in half precision, with token sizes and without entropy.

cuDNN knows no weights of keys, but logits are sums over channels: log weight is two more channels
of a key, read by ones in the queries.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def attention(
    query: Float[Array, "B N K D"],
    key: Float[Array, "B M K D"],
    value: Float[Array, "B M K D"],
    weight: Float[Array, "B M"] | None = None,
    *,
    scale: float,
    implementation: Literal["cudnn", "xla"] = "cudnn",
) -> Float[Array, "B N K D"]:
    """Computes softmax(scale q k' + log weight) v for each head; "xla" does so on any platform.

    JAX has no gradient for odd lengths: they are padded to even ones, and cuDNN receives the true
    lengths (on an H200 a fifth faster than a padded key of weight 0).
    """
    (batch, rows, _, width), keys = query.shape, key.shape[1]
    if weight is not None:
        key = jnp.concatenate([key, _channels(weight, key, scale)], axis=-1)
        query = _in_eights(query, key.shape[3], 1)
        key, value = (_in_eights(x, key.shape[3], 0) for x in (key, value))
    odd = rows % 2 or keys % 2
    query, key, value = (
        jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0))) for x in (query, key, value)
    )
    out = jax.nn.dot_product_attention(
        query,
        key,
        value,
        scale=scale,
        query_seq_lengths=jnp.full(batch, rows, jnp.int32) if odd else None,
        key_value_seq_lengths=jnp.full(batch, keys, jnp.int32) if odd else None,
        implementation=implementation,
    )
    return out[:, :rows, :, :width]


def _channels(weight: jax.Array, key: jax.Array, scale: float) -> jax.Array:
    """Returns two channels [B,M,K,2] of keys [B,M,K,D] whose sum times `scale` is log weight.

    One bfloat16 channel would be wrong by up to 1.6 % of a weight of 600; a second channel for the
    remainder makes it exact to 3e-5. The division by `scale` comes before the split and in float32:
    1 / scale in the queries would be rounded itself wherever it is no power of two.
    """
    kind = jnp.finfo(key.dtype)
    counts = weight > 0
    logs = jnp.log(jnp.where(counts, weight, 1).astype(jnp.float32)) / scale
    logs = jnp.where(counts, logs, float(kind.min) / 2)  # finite, so that differences are
    logs = jnp.broadcast_to(logs[..., None, None], (*key.shape[:3], 1))
    # no `astype` there and back: XLA leaves both out on a GPU, and nothing for the second channel
    high = jax.lax.reduce_precision(logs, kind.nexp, kind.nmant)
    return jnp.concatenate([high, logs - high], axis=-1).astype(key.dtype)


def _in_eights(x: jax.Array, width: int, fill: int) -> jax.Array:
    """Widens heads [B,N,K,D] to `width`, rounded up to eights, by channels of `fill`."""
    more = width + -width % 8 - x.shape[3]
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, more)), constant_values=fill)
