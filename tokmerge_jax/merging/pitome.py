"""PiToMe: tokens in a crowd of similar ones merge, lonely ones are protected.

Source: PiToMe (NeurIPS 2024), section 3; energies, splits and margins are those of its code.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tokmerge_jax.merging import matching, merge
from tokmerge_jax.merging.matching import Matching
from tokmerge_jax.merging.merger import Merger, register
from tokmerge_jax.merging.tokens import Evidence, Tokens, read


@register("pitome")
@dataclasses.dataclass(frozen=True)
class PiToMe(Merger):
    """Merges r tokens of high energy by their mean keys, as in the paper's ViT (DeiT).

    Means are weighted by size, but sizes do not count in attention: its code does the same.

    Attributes:
      margin: the cosine above which two tokens raise each other's energy.
      limited: whether only the 2 r tokens of the highest energy may merge.
      alpha: how far cosines below the margin can lower an energy; 1 in the paper's networks.
    """

    needs = frozenset({"keys"})
    proportional = False
    ordered = False
    margin: float = 0.75
    limited: bool = False
    alpha: float = 1.0

    @classmethod
    def at(cls, layer: int, depth: int, r: int, class_tokens: int) -> "PiToMe":
        """The margin falls from 0.75; the second half of the layers is limited."""
        return cls(r, class_tokens, 0.75 * (1 - layer / depth), layer >= math.ceil(depth / 2))

    @staticmethod
    def most(tokens: int, class_tokens: int) -> int:
        """Half of the unprotected tokens."""
        return matching.most(tokens, class_tokens)

    def macs(self, tokens: int, width: int, heads: int) -> int:
        """Cosines of all pairs of mean keys."""
        return (tokens - self.class_tokens) ** 2 * (width // heads)

    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Tokens [B,N,C] and their mean keys -> tokens [B,N-r,C], the lonely ones first."""
        return self._merged(tokens, read("keys", self, tokens, evidence))

    def _merged(self, tokens: Tokens, metric: Float[Array, "B N D"]) -> Tokens:
        pairs = crowded(metric, self.r, self.margin, self.limited, self.class_tokens, self.alpha)
        return merge.tokens(pairs, tokens)


@register("pitome_clip")
@dataclasses.dataclass(frozen=True)
class PiToMeCLIP(PiToMe):
    """PiToMe as in the paper's CLIP: tokens themselves are compared, and all layers are limited."""

    needs = frozenset()

    @classmethod
    def at(cls, layer: int, depth: int, r: int, class_tokens: int) -> "PiToMeCLIP":
        """The margin falls from 0.95."""
        return cls(r, class_tokens, 0.95 * (1 - layer / depth), limited=True)

    def macs(self, tokens: int, width: int, heads: int) -> int:
        """Cosines of all pairs of tokens."""
        del heads
        return (tokens - self.class_tokens) ** 2 * width

    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Tokens [B,N,C] -> tokens [B,N-r,C], the lonely ones first."""
        return self._merged(tokens, tokens.compared)


def crowded(
    metric: Float[Array, "B N D"],
    r: int,
    margin: float,
    limited: bool,
    class_tokens: int,
    alpha: float = 1.0,
) -> Matching:
    """Merges r tokens between even and odd ranks of energy; the others stand before their targets.

    Args:
      metric: what tokens are compared by.
      r: tokens to merge; no more than half of the unprotected ones are. 0 changes nothing.
      margin: see `energy`.
      limited: whether only the 2 r tokens of the highest energy may merge.
      class_tokens: number of leading tokens that neither merge nor count in any energy.
      alpha: see `energy`.
    """
    batch, tokens, _ = metric.shape
    r = min(r, matching.most(tokens, class_tokens))
    if r <= 0:
        return matching.identity(batch, tokens)
    similar = matching.cosine(*2 * [metric[:, class_tokens:]])
    ranking = matching.ranking(energy(similar, margin, alpha))
    crowd = 2 * r if limited else tokens - class_tokens
    even, odd = ranking[:, :crowd:2], ranking[:, 1:crowd:2]
    score = jnp.take_along_axis(similar, even[..., None], axis=1)
    score = jnp.take_along_axis(score, odd[:, None], axis=2)
    best, partner = score.max(axis=-1), score.argmax(axis=-1)
    pairs = matching.best_pairs(best, partner, r, crowd, 0, ordered=False)
    kept, source = (
        class_tokens + jnp.take_along_axis(ranking, i, axis=1) for i in (pairs.kept, pairs.source)
    )
    first = jnp.broadcast_to(jnp.arange(class_tokens, dtype=jnp.int32), (batch, class_tokens))
    kept = jnp.concatenate([first, class_tokens + ranking[:, crowd:], kept], axis=1)
    return Matching(kept, source, tokens - crowd + pairs.target)


def energy(
    similar: Float[Array, "B N N"], margin: float, alpha: float = 1.0
) -> Float[Array, "B N"]:
    """Energy of each token, the crowd around it: the mean ELU of its cosines minus the margin.

    A cosine below the margin counts as alpha (exp(cosine - margin) - 1).
    """
    return jax.nn.elu(similar - margin, alpha).mean(axis=-1)
