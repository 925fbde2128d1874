"""Pruning by attention: the tokens that get the least of it are dropped.

Source: what TESTA (Findings of EMNLP 2023) compares aggregation with.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from tokmerge_jax.merging import matching, merge
from tokmerge_jax.merging.merger import Merger, register
from tokmerge_jax.merging.tokens import Evidence, Tokens, read


@register("prune")
class Prune(Merger):
    """Drops the r tokens that get the least attention from the others; nothing merges."""

    needs = frozenset({"received"})

    @staticmethod
    def most(tokens: int, class_tokens: int) -> int:
        """All unprotected tokens, but one token is left."""
        return most_dropped(tokens, class_tokens)

    def macs(self, tokens: int, width: int, heads: int) -> int:
        """Received attention, for which queries meet keys once more."""
        del heads
        return tokens**2 * width

    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Tokens [B,N,C] and the attention that they get -> tokens [B,N-r,C] in their order."""
        return drop(tokens, read("received", self, tokens, evidence), self.r, self.class_tokens)


@register("prune_frames")
class PruneFrames(Merger):
    """Drops the r frames that get the least attention from the others, at all places together."""

    needs = frozenset({"received"})
    place = "time"

    @staticmethod
    def most(tokens: int, class_tokens: int) -> int:
        """All but one frame; class tokens are in none of them."""
        del class_tokens
        return most_dropped(tokens, 0)

    def macs(self, tokens: int, width: int, heads: int) -> int:
        """At each place, where queries meet keys once more."""
        del heads
        return tokens**2 * width

    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Frames [B,T,N,C] and the attention [B,N,T] that they get -> frames [B,T-r,N,C]."""
        received = read("received", self, tokens, evidence, frames=True)
        return drop(tokens, received.mean(axis=1), self.r, 0)


def most_dropped(tokens: int, class_tokens: int) -> int:
    """The largest number of tokens that can be dropped: one stays, and so do class tokens."""
    return max(tokens - max(class_tokens, 1), 0)


def drop(tokens: Tokens, score: Float[Array, "B N"], r: int, class_tokens: int) -> Tokens:
    """Drops the r lowest-scored tokens of [B,N,...]; the others stay as they are, in their order.

    Raises:
      UserError: if the tokens are traced.
    """
    r = min(r, most_dropped(tokens.x.shape[1], class_tokens))
    score = score.at[:, :class_tokens].set(jnp.inf)
    return merge.keep(matching.highest(score, r), tokens)
