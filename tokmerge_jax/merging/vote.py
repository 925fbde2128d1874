"""TESTA's merger of frames: all places of a frame vote on its partner.

Source: TESTA (Findings of EMNLP 2023), section 3.
"""

import dataclasses

from tokmerge_jax.merging import matching, merge
from tokmerge_jax.merging.merger import Merger, register
from tokmerge_jax.merging.tokens import Evidence, Tokens, read


@register("vote")
@dataclasses.dataclass(frozen=True)
class Vote(Merger):
    """Merges the r frames that are most similar to another at their places; see `matching.voted`.

    Attributes:
      vote: how the scores at a frame's places give its score.
    """

    needs = frozenset({"keys"})
    place = "time"
    vote: str = "min"

    @staticmethod
    def most(tokens: int, class_tokens: int) -> int:
        """Half of the frames can merge, without `class_tokens`; see `matching.voted`."""
        return matching.most(tokens, class_tokens)

    def macs(self, tokens: int, width: int, heads: int) -> int:
        """Counts the cosines of mean keys at one place."""
        return matching.pairs(tokens) * (width // heads)

    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Merges frames [B,T,N,C] by their keys [B,N,T,D]; returns frames [B,T-r,N,C]."""
        keys = read("keys", self, tokens, evidence, frames=True)
        pairs = matching.voted(keys, self.r, self.vote, self.class_tokens)
        return merge.tokens(pairs, tokens)
