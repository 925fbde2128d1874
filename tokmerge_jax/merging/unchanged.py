"""EVS: patches that are as in the frame before are dropped before the first block.

Source: Efficient Video Sampling (arXiv 2510.14624), which drops a fixed share of a video's tokens
after the encoder; Run-Length Tokenization (NeurIPS 2024) drops them before it, as here.
"""

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float, Int

from tokmerge_jax.merging import matching, merge
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

    @property
    def drops(self) -> bool:
        """Patches are dropped."""
        return True

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


@register("unchanged_runs")
class UnchangedRuns(Unchanged):
    """`Unchanged`, in which a patch stands for those dropped after it at its place.

    Later attention counts them, and tokens can be traced.
    """

    @property
    def drops(self) -> bool:
        """A patch that goes is merged into the one that stands for it."""
        return False

    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Merges tokens [B,N,C] by their differences; returns [B,N-r,C] in order, unchanged."""
        changed, total = read("difference", self, tokens, evidence), tokens.x.shape[1]
        changed = changed.at[:, : self.class_tokens].set(jnp.inf)
        r = min(self.r, self.most(total, self.class_tokens))
        per_frame = (total - self.class_tokens) // max(evidence.frames - 1, 1)
        runs = matching.groups(holders(changed, r, evidence.frames, per_frame), r)
        kept = merge.tokens(runs, tokens, jnp.zeros_like(changed))
        return kept.replace(size=merge.reduce(runs, jnp.ones_like(changed)[..., None])[..., 0])


def holders(changed: Float[Array, "B N"], r: int, frames: int, per_frame: int) -> Int[Array, "B N"]:
    """The last kept token at each patch's place, itself included, if the r least changed go.

    Args:
      changed: the difference of each patch, frame by frame behind the class tokens; infinite in
        these and in the first frame.
      r: number of patches that go.
      frames: T.
      per_frame: P, the number of patches of a frame.
    """
    kept = matching.highest(changed, r).astype(jnp.int32)
    own = jax.vmap(lambda i: jnp.zeros(changed.shape[1], jnp.int32).at[i].set(i))(kept)
    first, patches = jnp.split(own, [changed.shape[1] - frames * per_frame], axis=1)
    last = jax.lax.cummax(rearrange(patches, "b (t p) -> b t p", t=frames), axis=1)
    return jnp.concatenate([first, rearrange(last, "b t p -> b (t p)")], axis=1)


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
