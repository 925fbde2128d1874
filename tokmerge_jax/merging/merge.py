"""Applies a matching: merges groups of tokens, undoes this, and follows tokens through it.

Source: Token Merging (ICLR 2023), section 3; source weights from vid-TLDR (CVPR 2024), section 3.3.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tokmerge_jax.merging.matching import Matching
from tokmerge_jax.merging.tokens import Tokens
from tokmerge_jax.types import UserError

DROPPED = "dropped tokens cannot be followed; choose a config.model.merger.name that merges"
"""Why a merger that drops tokens is refused where each of them has to be followed."""

_INSIDE = {"mode": "promise_in_bounds", "wrap_negative_indices": False}
"""All indices are places of tokens, and XLA would compile checks of them for each layer anew."""


def reduce(
    matching: Matching, x: Float[Array, "B N C"], how: Literal["sum", "mean", "max"] = "sum"
) -> Float[Array, "B M C"]:
    """Combines each kept token with its sources: by sum, plain mean or maximum."""
    kept, source = _take(x, matching.kept), _take(x, matching.source)
    if how == "max":
        return jax.vmap(lambda y, i, s: y.at[i].max(s))(kept, matching.target, source)
    total = _add(kept, matching.target, source)
    if how == "sum":
        return total
    return total / reduce(matching, jnp.ones((*x.shape[:2], 1), x.dtype))


def weighted_mean(
    matching: Matching,
    x: Float[Array, "B N *place C"],
    size: Float[Array, "B N *place"] | None = None,
    weight: Float[Array, "B N"] | None = None,
) -> tuple[Float[Array, "B M *place C"], Float[Array, "B M *place"]]:
    """Computes the means of groups, weighted by size, and the sizes of the groups.

    Args:
      matching: which tokens form groups.
      x: tokens of any float type, or frames, which merge place by place; sums are float32.
      size: the number of input tokens that each token stands for; None = 1.
      weight: factor of each source's size, in the mean and in the new size; a source of weight 0
        vanishes. Kept tokens always count in full. None = 1.

    Returns:
      Tokens in the type of `x`, sizes in float32.
    """
    size = jnp.ones(x.shape[:-1], jnp.float32) if size is None else size
    mass = size if weight is None else size * weight
    kept, source = _take(size, matching.kept), _take(mass, matching.source)
    total = _add(
        _take(x, matching.kept).astype(jnp.float32) * kept[..., None],
        matching.target,
        _take(x, matching.source).astype(jnp.float32) * source[..., None],
    )
    size = _add(kept, matching.target, source)
    return (total / size[..., None]).astype(x.dtype), size


def unmerge(matching: Matching, x: Float[Array, "B M C"]) -> Float[Array, "B N C"]:
    """Gives every token the value of the one that holds it."""
    return _take(x, destination(matching))


def restore(x: Float[Array, "B M C"], origin: Int[Array, "B N"]) -> Float[Array, "B N C"]:
    """Gives every input token the value of the token that holds it (`Tokens.origin`)."""
    return _take(x, origin)


def regroup(x: Float[Array, "B N C"], tokens: Tokens) -> Tokens:
    """The plain means of the input tokens x that each of the traced tokens [B,M,C] holds.

    Their sizes are the numbers of input tokens.
    """
    assert tokens.origin is not None
    groups = jnp.zeros((*tokens.x.shape[:2], x.shape[-1]))
    size = _add(groups[..., 0], tokens.origin, jnp.ones(x.shape[:2]))
    total = _add(groups, tokens.origin, x.astype(jnp.float32))
    return tokens.replace(x=(total / size[..., None]).astype(x.dtype), size=size)


def destination(matching: Matching) -> Int[Array, "B N"]:
    """The place in the result that holds each token."""
    place = jnp.arange(matching.kept.shape[1], dtype=jnp.int32)
    token = jnp.concatenate([matching.kept, matching.source], axis=1)
    place = jnp.concatenate([jnp.broadcast_to(place, matching.kept.shape), matching.target], axis=1)
    return jax.vmap(lambda i, p: jnp.zeros_like(p).at[i].set(p, unique_indices=True))(token, place)


def chain(first: Matching, second: Matching) -> Matching:
    """The matching that does what `second` does to the result of `first`."""
    token = first.kept
    return Matching(
        _take(token, second.kept),
        jnp.concatenate([first.source, _take(token, second.source)], axis=1),
        jnp.concatenate([_take(destination(second), first.target), second.target], axis=1),
    )


def tokens(matching: Matching, tokens: Tokens, weight: Float[Array, "B N"] | None = None) -> Tokens:
    """Merges tokens by `weighted_mean`, their sizes and, where known, origins and positions."""
    x, size = weighted_mean(matching, tokens.x, tokens.size, weight)
    origin, position = tokens.origin, tokens.position
    if origin is not None:
        origin = follow(destination(matching), origin)
    if position is not None and tokens.position_rule == "kept":
        position = _take(position, matching.kept)
    elif position is not None:
        position, _ = weighted_mean(matching, position, tokens.size, weight)
    return tokens.replace(x=x, size=size, origin=origin, position=position)


def keep(kept: Int[Array, "B M"], tokens: Tokens) -> Tokens:
    """Keeps the tokens `kept` unchanged and drops the others, which cannot be traced then.

    Raises:
      UserError: if they are traced.
    """
    if tokens.origin is not None:
        raise UserError(DROPPED)
    return jax.tree.map(lambda part: _take(part, kept), tokens)


def follow(place: Int[Array, "B N"], origin: Int[Array, "B I"]) -> Int[Array, "B I"]:
    """Returns place[b, origin[b, i]], by one look-up in a flat array of all samples' places.

    XLA fuses the look-ups of all layers. A look-up in a batch, or one that allows negative indices,
    uses each index twice, and XLA's CPU code would then double with every layer.
    """
    batch, length = place.shape
    index = length * jnp.arange(batch, dtype=jnp.int32)[:, None] + origin
    return place.reshape(-1).at[index.reshape(-1)].get(**_INSIDE).reshape(origin.shape)


def _take(x: jax.Array, index: jax.Array) -> jax.Array:
    """x[b, index[b, i]] for x of [B,N,...]."""
    return jax.vmap(lambda x, i: x.at[i].get(**_INSIDE))(x, index)


def _add(x: jax.Array, index: jax.Array, update: jax.Array) -> jax.Array:
    """x with update[b, i] added at [b, index[b, i]], for any number of equal indices."""
    return jax.vmap(lambda x, i, u: x.at[i].add(u, **_INSIDE))(x, index, update)
