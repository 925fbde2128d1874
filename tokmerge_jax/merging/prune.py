"""Pruning by attention: drops the tokens that receive the least of it.

Source: TESTA (Findings of EMNLP 2023), the baseline of its aggregation.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from tokmerge_jax.merging import matching, merge
from tokmerge_jax.merging.merger import Merger, register
from tokmerge_jax.merging.tokens import Evidence, Tokens, read


@register("prune")
class Prune(Merger):
    """Drops the r tokens that receive the least attention from the others; nothing merges."""

    needs = frozenset({"received"})

    @property
    def drops(self) -> bool:
        """Tokens are dropped."""
        return True

    @staticmethod
    def most(tokens: int, class_tokens: int) -> int:
        """All unprotected tokens can be dropped, but one token stays."""
        return most_dropped(tokens, class_tokens)

    def macs(self, tokens: int, width: int, heads: int) -> int:
        """Counts the received attention, which multiplies queries and keys once more."""
        del heads
        return tokens**2 * width

    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Drops tokens of [B,N,C] by the attention they receive; returns [B,N-r,C] in order."""
        return drop(tokens, read("received", self, tokens, evidence), self.r, self.class_tokens)


@register("prune_frames")
class PruneFrames(Merger):
    """Drops the r frames that receive the least attention from the others, over all places."""

    needs = frozenset({"received"})
    place = "time"

    @property
    def drops(self) -> bool:
        """Frames are dropped."""
        return True

    @staticmethod
    def most(tokens: int, class_tokens: int) -> int:
        """All frames but one can be dropped; they have no class tokens."""
        del class_tokens
        return most_dropped(tokens, 0)

    def macs(self, tokens: int, width: int, heads: int) -> int:
        """Counts, at one place, the received attention, which multiplies queries and keys again."""
        del heads
        return tokens**2 * width

    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Drops frames of [B,T,N,C] by the attention [B,N,T] they receive; returns [B,T-r,N,C]."""
        received = read("received", self, tokens, evidence, frames=True)
        return drop(tokens, received.mean(axis=1), self.r, 0)


def most_dropped(tokens: int, class_tokens: int) -> int:
    """The largest number of tokens that can be dropped: one token and all class tokens stay."""
    return max(tokens - max(class_tokens, 1), 0)


def drop(tokens: Tokens, score: Float[Array, "B N"], r: int, class_tokens: int) -> Tokens:
    """Drops the r lowest-scored tokens of [B,N,...]; the others stay unchanged and in order.

    Raises:
      UserError: if the tokens are traced.
    """
    r = min(r, most_dropped(tokens.x.shape[1], class_tokens))
    score = score.at[:, :class_tokens].set(jnp.inf)
    return merge.keep(matching.highest(score, r), tokens)
