"""Random masking: training on a part of a video's patches."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def unmasked(
    x: Float[Array, "B N C"], key: jax.Array, ratio: float, class_tokens: int = 0
) -> Float[Array, "B M C"]:
    """Leaves out random tokens, others in each video; those that stay keep their order.

    Source: Masked Autoencoders As Spatiotemporal Learners (NeurIPS 2022), section 3.

    Args:
      x: class tokens, then patches.
      key: key of the draw.
      ratio: share of the patches that are left out, rounded down to whole patches.
      class_tokens: number of leading tokens that always stay.
    """
    patches = x.shape[1] - class_tokens
    stay = patches - int(ratio * patches)
    drawn = jax.random.uniform(key, (len(x), patches))
    chosen = jnp.sort(jnp.argsort(drawn, axis=1)[:, :stay], axis=1)
    kept = jnp.take_along_axis(x[:, class_tokens:], chosen[..., None], axis=1)
    return jnp.concatenate([x[:, :class_tokens], kept], axis=1)
