"""vid-TLDR: merges similar tokens, in which salient ones count more.

Source: vid-TLDR (CVPR 2024), sections 3.2 and 3.3.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tokmerge_jax.merging import matching, merge
from tokmerge_jax.merging.merger import Merger, register
from tokmerge_jax.merging.tokens import Evidence, Tokens, read


@register("vid_tldr")
class VidTLDR(Merger):
    """Merges the r most similar tokens; a source is weighted by how peaked its attention is.

    Background tokens vanish when they merge. The paper's network has no class tokens; where there
    are some, weights are computed without their attention.
    """

    needs = frozenset({"entropy"})

    @staticmethod
    def most(tokens: int, class_tokens: int) -> int:
        """Half of the unprotected tokens can merge."""
        return matching.most(tokens, class_tokens)

    def macs(self, tokens: int, width: int, heads: int) -> int:
        """Counts the cosines of tokens; attention computes the entropy anyway."""
        del heads
        return matching.pairs(tokens, self.class_tokens) * width

    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Merges tokens [B,N,C] by the negative entropy of their attention; returns [B,N-r,C]."""
        entropy = read("entropy", self, tokens, evidence)
        return merge_salient(tokens, entropy, self.r, self.class_tokens)


def merge_salient(tokens: Tokens, score: Float[Array, "B N"], r: int, class_tokens: int) -> Tokens:
    """Merges the r most similar tokens of [B,N,C]; a source is weighted by `foreground(score)`."""
    pairs = matching.bipartite(tokens.compared, r, class_tokens, ordered=True)
    return merge.tokens(pairs, tokens, _weights(score, class_tokens))


def saliency(evidence: Evidence, class_tokens: int) -> Float[Array, "B N"] | None:
    """The weights of tokens, by entropy or by shift, for pictures; None if neither is known."""
    score = evidence.shift if evidence.entropy is None else evidence.entropy
    return None if score is None else _weights(score, class_tokens)


def _weights(score: Float[Array, "B N"], class_tokens: int) -> Float[Array, "B N"]:
    """`foreground` of the unprotected tokens; class tokens count in full."""
    weight = foreground(score[:, class_tokens:])
    return jnp.pad(weight, ((0, 0), (class_tokens, 0)), constant_values=1)


def foreground(score: Float[Array, "B N"]) -> Float[Array, "B N"]:
    """Computes weights in [0,1]: 1 for the highest score, 0 for background tokens.

    Tokens with scores below the mean are background. The paper scales the scores to [0,1] before
    this, and the remaining ones to [0,1] after it; the first scale cancels out.

    Args:
      score: in the paper, the negative entropy sum_j a_ij log a_ij of the head-averaged attention
        map. No gradient passes.

    Returns:
      float32 weights; 1 for all tokens of a video whose scores are all equal.
    """
    score = jax.lax.stop_gradient(score).astype(jnp.float32)
    above = score - score.min(axis=-1, keepdims=True)
    above = jax.nn.relu(above - above.mean(axis=-1, keepdims=True))
    most = above.max(axis=-1, keepdims=True)
    return jnp.where(most > 0, above / jnp.where(most > 0, most, 1), 1)
