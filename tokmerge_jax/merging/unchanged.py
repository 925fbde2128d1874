"""EVS: patches that are as in the frame before are dropped before the first block.

Source: Efficient Video Sampling (arXiv 2510.14624), which drops a fixed share of a video's tokens
after the encoder; Run-Length Tokenization (NeurIPS 2024) drops them before it, as here.
"""

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

from tokmerge_jax.merging.matching import length
from tokmerge_jax.merging.merger import Merger, register
from tokmerge_jax.merging.prune import drop, most_dropped
from tokmerge_jax.merging.tokens import Evidence, Tokens, read


@register("unchanged")
class Unchanged(Merger):
    """Drops the r patches that differ least from the frame before; the first frame stays.

    `class_tokens` is the number of that frame's patches, and of the network's class tokens.
    """

    needs = frozenset({"difference"})
    place = "input"

    @staticmethod
    def most(tokens: int, class_tokens: int) -> int:
        """All but the first frame."""
        return most_dropped(tokens, class_tokens)

    def macs(self, tokens: int, width: int, heads: int) -> int:
        """Lengths and cosines of the patches of all frames but the first."""
        del heads
        return 3 * (tokens - self.class_tokens) * width

    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Tokens [B,N,C] and their differences -> tokens [B,N-r,C] in their order.

        Raises:
          UserError: if the tokens are traced.
        """
        return drop(tokens, read("difference", self, tokens, evidence), self.r, self.class_tokens)


def difference(
    patches: Float[Array, "B P C"], frames: int, class_tokens: int = 0
) -> Float[Array, "B N"]:
    """1 - the cosine of each patch and that at its place in the frame before, in float32.

    Args:
      patches: embeddings without positions, frame by frame. No gradient passes.
      frames: number of frames.
      class_tokens: number of class tokens that the network puts before the patches.

    Returns:
      The difference; infinite in class tokens and the first frame, and 1 where a patch is 0.
    """
    x = jax.lax.stop_gradient(patches).astype(jnp.float32)
    x = rearrange(x, "b (t p) c -> b t p c", t=frames)
    x /= length(x)
    changed = 1 - (x[:, 1:] * x[:, :-1]).sum(axis=-1)
    changed = jnp.pad(changed, ((0, 0), (1, 0), (0, 0)), constant_values=jnp.inf)
    changed = rearrange(changed, "b t p -> b (t p)")
    return jnp.pad(changed, ((0, 0), (class_tokens, 0)), constant_values=jnp.inf)
