"""TESTA's merger of frames: a vote of all places of a frame on its partner.

Source: TESTA (Findings of EMNLP 2023), section 3.
"""

import dataclasses

from tokmerge_jax.merging import matching, merge
from tokmerge_jax.merging.merger import Merger, register
from tokmerge_jax.merging.tokens import Evidence, Tokens, read


@register("vote")
@dataclasses.dataclass(frozen=True)
class Vote(Merger):
    """Merges the r frames whose places are most like another frame's; see `matching.voted`.

    Attributes:
      vote: what a frame's score is, of those at its places.
    """

    needs = frozenset({"keys"})
    place = "time"
    vote: str = "min"

    @staticmethod
    def most(tokens: int, class_tokens: int) -> int:
        """Half of the frames but for `class_tokens`, which `matching.voted` explains."""
        return matching.most(tokens, class_tokens)

    def macs(self, tokens: int, width: int, heads: int) -> int:
        """Cosines of mean keys, at each place."""
        return matching.pairs(tokens) * (width // heads)

    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Merges frames [B,T,N,C] by their keys [B,N,T,D]; returns frames [B,T-r,N,C]."""
        keys = read("keys", self, tokens, evidence, frames=True)
        pairs = matching.voted(keys, self.r, self.vote, self.class_tokens)
        return merge.tokens(pairs, tokens)
