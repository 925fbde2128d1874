"""Pairs of tokens that merge: ToMe's bipartite soft matching and its relatives.

Source: Token Merging (ICLR 2023), section 3 and appendix B; the vote is TESTA's (Findings of EMNLP
2023), section 3. Scores are cosines in float32, whatever the type of the metric, and no gradient
passes through a decision. Among equal scores, the first wins: it merges first, or it stays.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange, repeat
from jaxtyping import Array, Float, Int, Shaped

_COSINES = 2**24
"""Largest number of cosines of a sample that are in memory at a time: 64 MiB."""


@flax.struct.dataclass
class Matching:
    """The pairs among N tokens that merge: N - r tokens remain.

    Attributes:
      kept: int32 [B,N-r], the token at each place of the result.
      source: int32 [B,r], the tokens that merge into others; in a bipartite matching best first.
      target: int32 [B,r], the place in the result that each source merges into.
    """

    kept: jax.Array
    source: jax.Array
    target: jax.Array


def bipartite(
    metric: Float[Array, "B N D"],
    r: int,
    class_tokens: int = 0,
    *,
    ordered: bool = False,
) -> Matching:
    """Merges the r most similar pairs between even (A) and odd (B) places.

    The result holds the protected tokens, the kept tokens of A, then all of B.

    Args:
      metric: the features by which tokens are compared.
      r: number of tokens to merge, capped at half of the unprotected ones. 0 changes nothing.
      class_tokens: number of leading tokens that are protected: nothing merges them, or into them
        (class tokens, DeiT's distillation token). The kept tokens of A then stay in order.
      ordered: whether the kept tokens of A stay in order without class tokens too; otherwise they
        are sorted by falling score.
    """
    batch, tokens, _ = metric.shape
    r = min(r, most(tokens, class_tokens))
    if r <= 0:
        return identity(batch, tokens)
    even, odd = sides(class_tokens)
    best, partner = nearest(metric[:, even], metric[:, odd])
    return best_pairs(best, partner, r, tokens, class_tokens, ordered or class_tokens > 0)


def sides(class_tokens: int) -> tuple[slice, slice]:
    """The unprotected tokens at even (A) and at odd (B) places."""
    first, second = (class_tokens + (class_tokens + i) % 2 for i in (0, 1))
    return slice(first, None, 2), slice(second, None, 2)


def most(tokens: int, class_tokens: int = 0) -> int:
    """The largest number of pairs of `bipartite`: half of the unprotected tokens."""
    return max(tokens - class_tokens, 0) // 2


def pairs(tokens: int, class_tokens: int = 0) -> int:
    """The number of pairs that `bipartite` compares."""
    half = most(tokens, class_tokens)
    return half * (tokens - class_tokens - half)


VOTES = ("min", "mode", "mode_half")


def voted(
    metric: Float[Array, "B N T D"], r: int, vote: str = "min", class_tokens: int = 0
) -> Matching:
    """Merges the r best pairs of even (A) and odd (B) frames, which the places of a frame vote on.

    The partner of a frame is the one that most of its places find most similar. The kept frames of
    A stay in order.

    Args:
      metric: the features by which frames are compared, at each of N places.
      r: number of frames to merge, capped at (T - class_tokens) // 2. 0 changes nothing.
      vote: one of `VOTES`, which makes the score of a pair from its scores at all places.
        "min" takes the least score.
        "mode" takes the most frequent one, and of equally frequent ones the least. Since floats are
        rarely equal, this is mostly the least score; if rounding makes two equal, it is that one.
        "mode_half" takes the mode after rounding to float16, as in mixed-precision training.
      class_tokens: only lowers the limit of r. Class tokens are not among the frames, but TESTA
        counts its own there if patches merge too.
    """
    batch, _, frames, _ = metric.shape
    r = min(r, most(frames, class_tokens))
    if r <= 0:
        return identity(batch, frames)
    units = unit(metric)
    if vote == "mode_half":
        units = units.astype(jnp.float16).astype(jnp.float32)
    score = jnp.einsum("bpad,bpcd->bpac", units[:, :, ::2], units[:, :, 1::2], precision="highest")
    score = score.astype(jnp.float16) if vote == "mode_half" else score
    best, partner = score.max(axis=-1), elected(score.argmax(axis=-1), score.shape[-1])
    best = best.min(axis=1) if vote == "min" else mode(best)
    return best_pairs(best, partner, r, frames, 0, ordered=True)


def kth(metric: Float[Array, "B N D"], k: int) -> Matching:
    """Merges the first k - 1 of every k tokens into the most similar of all k-th tokens.

    N // k tokens remain; the last N % k tokens are dropped.
    """
    batch, tokens, _ = metric.shape
    runs = rearrange(jnp.arange(tokens // k * k), "(m k) -> m k", k=k)
    kept, source = runs[:, -1], rearrange(runs[:, :-1], "m k -> (m k)")
    _, target = nearest(metric[:, source], metric[:, kept])
    kept, source = (repeat(i, "n -> b n", b=batch) for i in (kept, source))
    return _matching(kept, source, target)


def random(metric: Float[Array, "B N D"], r: int, permutation: Int[Array, "B N"]) -> Matching:
    """Merges r random tokens, the first of `permutation`, each into the most similar other token.

    Args:
      metric: the features by which tokens are compared.
      r: number of tokens to merge; at least one token remains. 0 changes nothing.
      permutation: a random order of each sample's tokens; the result keeps it.
    """
    batch, tokens, _ = metric.shape
    r = min(r, tokens - 1)
    if r <= 0:
        return identity(batch, tokens)
    source, kept = permutation[:, :r], permutation[:, r:]
    _, target = nearest(
        *(jnp.take_along_axis(metric, i[..., None], axis=1) for i in (source, kept))
    )
    return _matching(kept, source, target)


def highest(score: Float[Array, "B N"], r: int) -> Int[Array, "B M"]:
    """The places of all but the r lowest scores, in order; of equal scores the earlier stay."""
    return jnp.sort(ranking(score)[:, : score.shape[1] - r], axis=-1)


def ranking(score: Float[Array, "B N"]) -> Int[Array, "B N"]:
    """The places by falling score; of equal scores the earlier come first."""
    return jnp.argsort(score, axis=-1, stable=True, descending=True)


def best_pairs(
    best: jax.Array, partner: jax.Array, r: int, tokens: int, class_tokens: int, ordered: bool
) -> Matching:
    """Merges the r of A with the best scores into their partners, the i-th of B.

    Args:
      best: [B,A], of each token of A the score of its pair.
      partner: [B,A], its place among B.
      r: tokens to merge, at most all of A.
      tokens: number of tokens, class tokens included.
      class_tokens: see `bipartite`.
      ordered: see `bipartite`.
    """
    even, odd = (np.arange(tokens)[side] for side in sides(class_tokens))
    order = ranking(best)
    source, kept = order[:, :r], order[:, r:]
    partner = jnp.take_along_axis(partner, source, axis=1)
    if ordered:
        kept = jnp.sort(kept, axis=-1)
    first, odd = (jnp.broadcast_to(i, (len(best), len(i))) for i in (np.arange(class_tokens), odd))
    target = class_tokens + kept.shape[1] + partner
    kept = jnp.concatenate([first, even[0] + 2 * kept, odd], axis=1)
    return _matching(kept, even[0] + 2 * source, target)


def groups(leader: Int[Array, "B N"], r: int) -> Matching:
    """Merges each token into its group's leader; N - r tokens, kept in order, lead themselves."""
    leads = leader == jnp.arange(leader.shape[1], dtype=jnp.int32)[None]
    order = jnp.argsort(~leads, axis=1, stable=True)
    kept, source = jnp.split(order, [leader.shape[1] - r], axis=1)
    place = leads.cumsum(axis=1) - 1
    into = jnp.take_along_axis(leader, source, axis=1)
    return _matching(kept, source, jnp.take_along_axis(place, into, axis=1))


def mode(x: Shaped[Array, "B N A"]) -> Shaped[Array, "B A"]:
    """The most frequent numbers along axis 1 of [B,N,A], the least of equally frequent ones."""
    x = jnp.sort(x, axis=1)
    counts = (x[:, :, None] == x[:, None]).sum(axis=2)
    return jnp.take_along_axis(x, counts.argmax(axis=1)[:, None], axis=1)[:, 0]


def elected(x: Int[Array, "B N A"], count: int) -> Int[Array, "B A"]:
    """`mode` of integers below `count`: fewer kernels, which differ from layer to layer."""
    votes = x[..., None] == jnp.arange(count, dtype=x.dtype)[None, None, None]
    return votes.sum(axis=1).argmax(axis=-1)


def nearest(
    a: Float[Array, "B A D"], b: Float[Array, "B M D"]
) -> tuple[Float[Array, "B A"], Int[Array, "B A"]]:
    """The cosine of each vector of a with the most similar one of b, and the place of that.

    Vectors of a are compared in blocks of at most `_COSINES` cosines, so that the memory grows with
    the number of tokens, not with its square.
    """

    def best(a: jax.Array) -> tuple[jax.Array, jax.Array]:
        score = cosine(a, b)
        return score.max(axis=-1), score.argmax(axis=-1)

    count = a.shape[1]
    blocks = -(-count // max(_COSINES // b.shape[1], 1))
    if blocks <= 1:
        return best(a)
    a = jnp.pad(a, ((0, 0), (0, -count % blocks), (0, 0)))
    pairs = jax.lax.map(best, rearrange(a, "b (n a) d -> n b a d", n=blocks))
    most, place = (rearrange(x, "n b a -> b (n a)")[:, :count] for x in pairs)
    return most, place


def cosine(a: jax.Array, b: jax.Array) -> jax.Array:
    """Cosines [B,N,M] of all pairs in float32; those of a zero vector are 0.

    Vectors are multiplied before they are scaled: float32 holds the products of half-precision
    numbers exactly, so matrix units lose nothing.
    """
    a, b = jax.lax.stop_gradient((a, b))
    product = jnp.einsum(
        "bnd,bmd->bnm", a, b, precision="highest", preferred_element_type=jnp.float32
    )
    return product / (length(a) * rearrange(length(b), "b m 1 -> b 1 m"))


def unit(x: jax.Array) -> jax.Array:
    """Unit vectors in float32, without a gradient; those of zero vectors are 0."""
    x = jax.lax.stop_gradient(x).astype(jnp.float32)
    return x / length(x)


def length(x: jax.Array) -> jax.Array:
    """Lengths [...,1] of vectors [...,D] in float32; 1 in place of 0."""
    norm = jnp.linalg.norm(x.astype(jnp.float32), axis=-1, keepdims=True)
    return jnp.where(norm > 0, norm, 1)


def identity(batch: int, tokens: int) -> Matching:
    """Merges nothing."""
    nothing = jnp.zeros((batch, 0))
    return _matching(repeat(jnp.arange(tokens), "n -> b n", b=batch), nothing, nothing)


def _matching(kept: jax.Array, source: jax.Array, target: jax.Array) -> Matching:
    return Matching(*(index.astype(jnp.int32) for index in (kept, source, target)))
