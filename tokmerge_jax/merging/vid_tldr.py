"""vid-TLDR's saliency: which tokens are foreground, told from how peaked their attention is.

Source: vid-TLDR (CVPR 2024), section 3.2.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def foreground(entropy: Float[Array, "B N"]) -> Float[Array, "B N"]:
    """Weights in [0,1], the most peaked token's being 1 and those of background tokens 0.

    Background is what lies below the mean. The paper scales the entropy to [0,1] before that and
    the rest to [0,1] after it; the first scale cancels out.

    Args:
      entropy: sum_j a_ij log a_ij of the head-averaged attention map. No gradient passes.

    Returns:
      float32 weights; 1 for all tokens of a video whose values are all equal.
    """
    entropy = jax.lax.stop_gradient(entropy).astype(jnp.float32)
    above = entropy - entropy.min(axis=-1, keepdims=True)
    above = jax.nn.relu(above - above.mean(axis=-1, keepdims=True))
    most = above.max(axis=-1, keepdims=True)
    return jnp.where(most > 0, above / jnp.where(most > 0, most, 1), 1)
