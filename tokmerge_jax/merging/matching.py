"""Which tokens merge into which: ToMe's bipartite soft matching and its relatives.

Source: Token Merging (ICLR 2023), section 3 and appendix B. Scores are cosines in float32 whatever
the metric's type, and no gradient passes through a decision. Of equal scores the first wins.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


@flax.struct.dataclass
class Matching:
    """N tokens become N - r.

    Attributes:
      kept: int32 [B,N-r], the token that stands at each place of the result.
      source: int32 [B,r], the tokens that merge into others, in a bipartite matching best first.
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

    The result holds the protected tokens, the kept of A, then all of B.

    Args:
      metric: what tokens are compared by.
      r: tokens to merge; no more than half of the unprotected ones are. 0 changes nothing.
      class_tokens: how many tokens at the beginning are protected: they neither merge away nor
        take others in (class tokens, DeiT's distillation token). The kept of A then stay in order.
      ordered: the kept of A stay in their order also without class tokens; otherwise they come
        by falling score.
    """
    batch, tokens, _ = metric.shape
    r = min(r, (tokens - class_tokens) // 2)
    if r <= 0:
        return _identity(batch, tokens)
    even, odd = (np.arange(class_tokens + (class_tokens + i) % 2, tokens, 2) for i in (0, 1))
    score = _cosine(metric[:, even[0] :: 2], metric[:, odd[0] :: 2])
    order = jnp.argsort(score.max(axis=-1), axis=-1, stable=True, descending=True)
    source, kept = order[:, :r], order[:, r:]
    partner = jnp.take_along_axis(score.argmax(axis=-1), source, axis=1)
    if class_tokens or ordered:
        kept = jnp.sort(kept, axis=-1)
    first, odd = (jnp.broadcast_to(i, (batch, len(i))) for i in (np.arange(class_tokens), odd))
    target = class_tokens + kept.shape[1] + partner
    kept = jnp.concatenate([first, even[0] + 2 * kept, odd], axis=1)
    return _matching(kept, even[0] + 2 * source, target)


def kth(metric: Float[Array, "B N D"], k: int) -> Matching:
    """Merges each run of k tokens' first k-1 into the most similar of all runs' last tokens.

    A rest of less than k tokens is dropped: N // k tokens are left.
    """
    batch, tokens, _ = metric.shape
    runs = jnp.arange(tokens // k * k).reshape(-1, k)
    kept, source = runs[:, -1], runs[:, :-1].reshape(-1)
    target = _cosine(metric[:, source], metric[:, kept]).argmax(axis=-1)
    kept, source = (jnp.broadcast_to(i, (batch, *i.shape)) for i in (kept, source))
    return _matching(kept, source, target)


def random(metric: Float[Array, "B N D"], r: int, permutation: Int[Array, "B N"]) -> Matching:
    """Merges r random tokens, the first of `permutation`, each into the most similar other.

    Args:
      metric: what tokens are compared by.
      r: tokens to merge; at least one token is left. 0 changes nothing.
      permutation: a random order of each sample's tokens, which those of the result keep.
    """
    batch, tokens, _ = metric.shape
    r = min(r, tokens - 1)
    if r <= 0:
        return _identity(batch, tokens)
    source, kept = permutation[:, :r], permutation[:, r:]
    score = _cosine(*(jnp.take_along_axis(metric, i[..., None], axis=1) for i in (source, kept)))
    return _matching(kept, source, score.argmax(axis=-1))


def _cosine(a: jax.Array, b: jax.Array) -> jax.Array:
    """Cosines [B,N,M] of all pairs in float32; those of a zero vector are 0."""
    a, b = _unit(a), _unit(b)
    return jnp.einsum("bnd,bmd->bnm", a, b, precision=jax.lax.Precision.HIGHEST)


def _unit(x: jax.Array) -> jax.Array:
    x = jax.lax.stop_gradient(x).astype(jnp.float32)
    norm = jnp.linalg.norm(x, axis=-1, keepdims=True)
    return x / jnp.where(norm > 0, norm, 1)


def _identity(batch: int, tokens: int) -> Matching:
    nothing = jnp.zeros((batch, 0))
    return _matching(jnp.broadcast_to(jnp.arange(tokens), (batch, tokens)), nothing, nothing)


def _matching(kept: jax.Array, source: jax.Array, target: jax.Array) -> Matching:
    return Matching(*(index.astype(jnp.int32) for index in (kept, source, target)))
