"""ToMe: the tokens whose keys are most alike merge.

Source: Token Merging (ICLR 2023), section 3.
"""

from tokmerge_jax.merging import matching, merge
from tokmerge_jax.merging.merger import Merger, register
from tokmerge_jax.merging.tokens import Evidence, Tokens, read


@register("tome")
class ToMe(Merger):
    """Merges the r tokens whose mean keys are most like another's; means are weighted by size."""

    needs = frozenset({"keys"})

    @staticmethod
    def most(tokens: int, class_tokens: int) -> int:
        """Half of the unprotected tokens."""
        return matching.most(tokens, class_tokens)

    def macs(self, tokens: int, width: int, heads: int) -> int:
        """Cosines of mean keys."""
        return matching.pairs(tokens, self.class_tokens) * (width // heads)

    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Tokens [B,N,C] and their mean keys -> tokens [B,N-r,C]."""
        keys = read("keys", self, tokens, evidence)
        pairs = matching.bipartite(keys, self.r, self.class_tokens)
        return merge.tokens(pairs, tokens)
