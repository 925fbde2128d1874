"""ATC: the two nearest clusters of tokens become one, r times.

Source: Agglomerative Token Clustering (ECCV 2024), section 3; average linkage is the one published.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from tokmerge_jax.merging import matching, merge
from tokmerge_jax.merging.matching import Matching
from tokmerge_jax.merging.merger import Merger, register
from tokmerge_jax.merging.tokens import Evidence, Tokens, read

Linkage = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
"""The distances of a joined cluster to all others, from those of its two parts and the share of the
first part in its tokens; never less than the smaller of the two."""


@register("atc")
class ATC(Merger):
    """Joins tokens to r fewer clusters by their mean keys; tokens are averaged by size."""

    needs = frozenset({"keys"})

    @staticmethod
    def most(tokens: int, class_tokens: int) -> int:
        """All unprotected tokens can become one."""
        return max(tokens - class_tokens - 1, 0)

    def macs(self, tokens: int, width: int, heads: int) -> int:
        """Counts the cosines of all pairs of mean keys; the r steps only compare numbers."""
        return (tokens - self.class_tokens) ** 2 * (width // heads)

    @staticmethod
    def linkage(a: jax.Array, b: jax.Array, share: jax.Array) -> jax.Array:
        """The mean over all pairs of tokens; rounding does not take it below both."""
        return jnp.maximum(share * a + (1 - share) * b, jnp.minimum(a, b))

    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Merges tokens [B,N,C] by their mean keys; returns [B,N-r,C], by first members."""
        keys = read("keys", self, tokens, evidence)
        return merge.tokens(clustered(keys, self.r, self.class_tokens, self.linkage), tokens)


@register("atc_complete")
class ATCComplete(ATC):
    """ATC with complete linkage."""

    @staticmethod
    def linkage(a: jax.Array, b: jax.Array, share: jax.Array) -> jax.Array:
        """The distance of the two farthest tokens."""
        del share
        return jnp.maximum(a, b)


@register("atc_single")
class ATCSingle(ATC):
    """ATC with single linkage."""

    @staticmethod
    def linkage(a: jax.Array, b: jax.Array, share: jax.Array) -> jax.Array:
        """The distance of the two nearest tokens."""
        del share
        return jnp.minimum(a, b)


def clustered(
    metric: Float[Array, "B N D"], r: int, class_tokens: int, linkage: Linkage
) -> Matching:
    """Joins the two nearest clusters r times; each stands at the place of its first token.

    Of equally near pairs, the one with the earliest first tokens joins. A cluster's distances count
    its tokens, not their sizes.

    Args:
      metric: the features by which tokens are compared: their distance is 1 - cosine.
      r: number of tokens that merge; one unprotected token remains at least. 0 changes nothing.
      class_tokens: number of leading tokens that are protected.
      linkage: the distance of clusters.
    """
    batch, tokens, _ = metric.shape
    r = min(r, ATC.most(tokens, class_tokens))
    if r <= 0:
        return matching.identity(batch, tokens)
    free = metric[:, class_tokens:]
    distance = 1 - matching.cosine(free, free)
    first = jax.vmap(partial(_first_members, r=r, linkage=linkage))(distance)
    protected = jnp.broadcast_to(jnp.arange(class_tokens, dtype=jnp.int32), (batch, class_tokens))
    return matching.groups(jnp.concatenate([protected, class_tokens + first], axis=1), r)


def _first_members(distance: Float[Array, "N N"], r: int, linkage: Linkage) -> Int[Array, "N"]:
    """The first token of each token's cluster, after r joins.

    A cluster is the row and column of its first token; other tokens are infinitely far. The second
    part of the state holds, for each row, a lower bound of its distances to later ones. A join
    makes no distance less, so bounds stay true, and a step need only read rows of low bounds
    instead of all.
    """
    count = len(distance)
    place = jnp.arange(count, dtype=jnp.int32)
    distance = jnp.where(jnp.eye(count, dtype=bool), jnp.inf, distance)
    bound = jnp.where(jnp.triu(jnp.ones_like(distance), 1) > 0, distance, jnp.inf).min(axis=1)

    def join(_: jax.Array, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        distance, bound, members, first = state
        bound, i, j = _nearest(distance, bound)
        total = members[i] + members[j]
        joined = linkage(distance[i], distance[j], members[i] / total)
        joined = joined.at[jnp.stack([i, j])].set(jnp.inf)
        distance = distance.at[i].set(joined).at[:, i].set(joined)
        distance = distance.at[j].set(jnp.inf).at[:, j].set(jnp.inf)
        bound = bound.at[i].set(jnp.where(place > i, joined, jnp.inf).min()).at[j].set(jnp.inf)
        return distance, bound, members.at[i].set(total), jnp.where(first == j, i, first)

    state = distance, bound, jnp.ones(count), place
    return lax.fori_loop(0, r, join, state)[3]


def _nearest(distance: jax.Array, bound: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Finds the first of the nearest pairs; returns the bounds, some of them raised, and its rows.

    The row of the least bound is read; if its distances are larger, so is its bound from now on.
    """
    place = jnp.arange(len(bound), dtype=jnp.int32)

    def read_row(bound: jax.Array) -> tuple[jax.Array, ...]:
        i = bound.argmin().astype(jnp.int32)
        later = jnp.where(place > i, distance[i], jnp.inf)
        return bound, i, later.argmin().astype(jnp.int32), later.min()

    def low(state: tuple[jax.Array, ...]) -> jax.Array:
        bound, i, _, least = state
        return least > bound[i]

    def raised(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        bound, i, _, least = state
        return read_row(bound.at[i].set(least))

    bound, i, j, _ = lax.while_loop(low, raised, read_row(bound))
    return bound, i, j
