"""Random merging: the baseline that shows what a method's choice of tokens is worth.

Source: random matching in the code of Token Merging (ICLR 2023).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from tokmerge_jax.merging import matching, merge
from tokmerge_jax.merging.matching import Matching
from tokmerge_jax.merging.merger import Merger, register
from tokmerge_jax.merging.tokens import Evidence, Tokens, read


@register("random")
@dataclasses.dataclass(frozen=True)
class Random(Merger):
    """Merges r random tokens, the same in every clip, into the others with the most similar keys.

    Attributes:
      layer: number of the layer, the seed of its draw.
    """

    needs = frozenset({"keys"})
    layer: int = 0

    @classmethod
    def at(cls, layer: int, depth: int, r: int, class_tokens: int) -> "Random":
        """Each layer draws tokens of its own."""
        del depth
        return cls(r, class_tokens, layer)

    @staticmethod
    def most(tokens: int, class_tokens: int) -> int:
        """Half of the unprotected tokens, as in `tome`."""
        return matching.most(tokens, class_tokens)

    def macs(self, tokens: int, width: int, heads: int) -> int:
        """Counts the cosines of mean keys."""
        return self.r * (tokens - self.class_tokens - self.r) * (width // heads)

    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Merges tokens [B,N,C] by their mean keys; returns tokens [B,N-r,C] in their order."""
        return merge.tokens(self._drawn(read("keys", self, tokens, evidence)), tokens)

    def _drawn(self, keys: jax.Array) -> Matching:
        batch, number, _ = keys.shape
        first = min(self.class_tokens, number)
        r = min(self.r, matching.most(number, first))
        order = np.random.default_rng(self.layer).permutation(number - first)
        order[r:].sort()
        pairs = matching.random(keys[:, first:], r, jnp.broadcast_to(order, (batch, len(order))))
        protected = jnp.broadcast_to(jnp.arange(first, dtype=jnp.int32), (batch, first))
        kept = jnp.concatenate([protected, first + pairs.kept], axis=1)
        return Matching(kept, first + pairs.source, first + pairs.target)
