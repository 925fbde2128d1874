"""ToFu: early layers drop the tokens most like another; later ones merge them and keep norms.

Source: Token Fusion (WACV 2024). Its code is not public: the norm-preserving mean follows the
abstract, and the layer from which tokens merge follows OpenToMe's and PiToMe's versions of ToFu.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from tokmerge_jax.merging import matching, merge
from tokmerge_jax.merging.matching import Matching
from tokmerge_jax.merging.merger import register
from tokmerge_jax.merging.tokens import Evidence, Tokens, read
from tokmerge_jax.merging.tome import ToMe


@register("tofu")
@dataclasses.dataclass(frozen=True)
class ToFu(ToMe):
    """Drops or merges the r tokens that ToMe merges.

    A merged token is the mean by size, with the largest norm of the tokens that it stands for.

    Attributes:
      merges: whether tokens merge; otherwise they are dropped.
    """

    merges: bool = False

    @property
    def drops(self) -> bool:
        """As `merges` says."""
        return not self.merges

    @classmethod
    def at(cls, layer: int, depth: int, r: int, class_tokens: int) -> "ToFu":
        """Tokens merge in the layers after `depth` // 2."""
        return cls(r, class_tokens, layer > depth // 2)

    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Tokens [B,N,C] and their mean keys -> tokens [B,N-r,C].

        Raises:
          UserError: if tokens that are dropped are traced.
        """
        keys = read("keys", self, tokens, evidence)
        pairs = matching.bipartite(keys, self.r, self.class_tokens)
        if not self.merges:
            return merge.keep(pairs.kept, tokens)
        return self._merged(pairs, tokens)

    def _merged(self, pairs: Matching, tokens: Tokens) -> Tokens:
        merged = merge.tokens(pairs, tokens)
        largest = merge.reduce(pairs, _norm(tokens.x), "max")
        return merged.replace(x=_scaled(merged.x, _norm(merged.x), largest))


@register("tofu_code")
class ToFuCode(ToFu):
    """ToFu as OpenToMe and PiToMe's repository compute it, to compare with their figures.

    A plain mean is divided by the norm of the target before merging, not by its own, and attention
    ignores sizes.
    """

    proportional = False

    def _merged(self, pairs: Matching, tokens: Tokens) -> Tokens:
        norm = _norm(tokens.x)
        target = jnp.take_along_axis(norm, pairs.kept[..., None], axis=1)
        mean, largest = merge.reduce(pairs, tokens.x, "mean"), merge.reduce(pairs, norm, "max")
        return merge.tokens(pairs, tokens).replace(x=_scaled(mean, target, largest))


def _norm(x: Float[Array, "B N C"]) -> Float[Array, "B N 1"]:
    return jnp.linalg.norm(x.astype(jnp.float32), axis=-1, keepdims=True)


def _scaled(
    x: Float[Array, "B N C"], norm: Float[Array, "B N 1"], largest: Float[Array, "B N 1"]
) -> Float[Array, "B N C"]:
    """x / norm * largest; x where the norm is 0."""
    ratio = jnp.where(norm > 0, largest / jnp.where(norm > 0, norm, 1), 1)
    return (x.astype(jnp.float32) * ratio).astype(x.dtype)
