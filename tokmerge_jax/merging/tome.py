"""ToMe: merges the tokens with the most similar keys.

Source: Token Merging (ICLR 2023), section 3.
"""

from tokmerge_jax.merging import matching, merge
from tokmerge_jax.merging.merger import Merger, register
from tokmerge_jax.merging.tokens import Evidence, Tokens, read


@register("tome")
class ToMe(Merger):
    """Merges the r tokens with the most similar mean keys into their partners, weighted by size."""

    needs = frozenset({"keys"})

    @staticmethod
    def most(tokens: int, class_tokens: int) -> int:
        """Half of the unprotected tokens can merge."""
        return matching.most(tokens, class_tokens)

    def macs(self, tokens: int, width: int, heads: int) -> int:
        """Counts the cosines of mean keys."""
        return matching.pairs(tokens, self.class_tokens) * (width // heads)

    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Merges tokens [B,N,C] by their mean keys; returns tokens [B,N-r,C]."""
        keys = read("keys", self, tokens, evidence)
        pairs = matching.bipartite(keys, self.r, self.class_tokens)
        return merge.tokens(pairs, tokens)


@register("tome_rotated")
class ToMeRotated(ToMe):
    """ToMe by mean keys after rotary positions, where there are any: neighbours look more alike."""

    needs = frozenset({"keys", "rotated"})

    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Merges tokens [B,N,C] by their rotated mean keys; returns tokens [B,N-r,C]."""
        if evidence.rotated is not None:
            evidence = evidence.replace(keys=evidence.rotated)
        return super().__call__(tokens, evidence)
