"""MCTF: tokens merge that are similar, receive little attention and stand for few others.

Source: Multi-criteria Token Fusion (CVPR 2024), section 3; exponents, pairs and means are those of
its code.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tokmerge_jax.merging import matching, merge
from tokmerge_jax.merging.matching import Matching
from tokmerge_jax.merging.merger import Merger, register
from tokmerge_jax.merging.tokens import Evidence, Tokens, read

TEMPERATURES = (1.0, 20.0, 40.0)
"""Those of similarity, attention received and size: the larger, the less a criterion counts."""

LEAST = 1e-12
"""Less attention than this counts as this much, which keeps all weights above 0."""


@register("mctf")
class MCTF(Merger):
    """Merges r tokens after the MLP; those that receive more attention count more in means."""

    needs = frozenset({"attended"})
    place = "mlp"
    ordered = False

    @staticmethod
    def most(tokens: int, class_tokens: int) -> int:
        """Half of the unprotected tokens can merge."""
        return matching.most(tokens, class_tokens)

    def macs(self, tokens: int, width: int, heads: int) -> int:
        """Counts the cosines of tokens, and queries times keys once more for what they receive."""
        del heads
        return (matching.pairs(tokens, self.class_tokens) + tokens**2) * width

    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Merges tokens [B,N,C] by similarity, attention and size; returns [B,N-r,C]."""
        attended = read("attended", self, tokens, evidence)
        if min(self.r, self.most(tokens.x.shape[1], self.class_tokens)) <= 0:
            return tokens
        score = attraction(tokens.compared, attended, tokens.size, self.class_tokens)
        return _fused(both_ways(score, self.r, self.class_tokens), tokens, attended)


@register("mctf_ahead")
class MCTFAhead(MCTF):
    """As published: merges between a layer's attention map and the values that it weighs."""

    place = "within"


@register("mctf_precise")
class MCTFPrecise(MCTF):
    """Merges by the map that attention would have; then it attends among what is left."""

    place = "before"


def _fused(pairs: Matching, tokens: Tokens, attended: Float[Array, "B N"]) -> Tokens:
    """Computes means weighted by size times attention; tokens that stay alone do not change."""
    size = jnp.ones_like(attended) if tokens.size is None else tokens.size
    mass = (size * _positive(attended))[..., None]
    share = mass / merge.unmerge(pairs, jnp.take_along_axis(mass, pairs.kept[..., None], axis=1))
    merged = merge.tokens(pairs, tokens.replace(size=None), share[..., 0])
    return merged.replace(size=merge.reduce(pairs, size[..., None])[..., 0])


def attraction(
    x: Float[Array, "B N C"],
    attended: Float[Array, "B N"],
    size: Float[Array, "B N"] | None,
    class_tokens: int,
    temperatures: Sequence[float] = TEMPERATURES,
) -> Float[Array, "B even odd"]:
    """Scores the pairs of unprotected tokens at even and at odd places, in float32.

    The score is the product of ((cosine + 1) / 2)^(1 / t), and of (least / own)^(1 / t) of the
    attention and of the size of both tokens.

    Args:
      x: the tokens.
      attended: the mean attention that each token receives.
      size: the number of input tokens that each stands for; None leaves this criterion out.
      class_tokens: number of leading tokens that are protected.
      temperatures: t of each criterion; 0 leaves it out.
    """
    even, odd = matching.sides(class_tokens)
    similar, informative, large = temperatures
    score = jnp.ones((), jnp.float32)
    if similar:
        score = ((matching.cosine(x[:, even], x[:, odd]) + 1) / 2) ** (1 / similar)
    for amount, temperature in ((_positive(attended), informative), (size, large)):
        if temperature and amount is not None:
            share = jax.lax.stop_gradient(amount.min(axis=1, keepdims=True) / amount)
            share **= 1 / temperature
            score *= share[:, even, None] * share[:, None, odd]
    return score


def both_ways(score: Float[Array, "B even odd"], r: int, class_tokens: int) -> Matching:
    """Merges r // 2 even places into odd ones, then odd places into the even ones that remain.

    The result holds the protected tokens, the even places (in order behind class tokens, otherwise
    by falling score), then the odd ones by falling score.

    Args:
      score: the scores of pairs; see `attraction`.
      r: number of tokens to merge, at least one, capped at half of the unprotected ones.
      class_tokens: number of leading tokens that are protected.
    """
    batch, tokens = len(score), class_tokens + sum(score.shape[1:])
    r = min(r, matching.most(tokens, class_tokens))
    first = matching.best_pairs(
        score.max(axis=2), score.argmax(axis=2), r // 2, tokens, class_tokens, class_tokens > 0
    )
    start = matching.sides(class_tokens)[0].start
    remain = first.kept[:, class_tokens : class_tokens + score.shape[1] - r // 2]
    score = jnp.take_along_axis(score, (remain - start)[..., None] // 2, axis=1)
    order, partner = matching.ranking(score.max(axis=1)), score.argmax(axis=1)
    source = order[:, : r - r // 2]
    before = class_tokens + score.shape[1]  # in the result of `first`
    stay = jnp.broadcast_to(jnp.arange(before, dtype=jnp.int32), (batch, before))
    second = Matching(
        jnp.concatenate([stay, before + order[:, r - r // 2 :]], axis=1),
        before + source,
        class_tokens + jnp.take_along_axis(partner, source, axis=1),
    )
    return merge.chain(first, second)


def _positive(attended: Float[Array, "B N"]) -> Float[Array, "B N"]:
    return jnp.maximum(jax.lax.stop_gradient(attended), LEAST)
