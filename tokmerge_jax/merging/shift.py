"""Representation Shift: the importance of a token is how much the MLP changes it.

Source: Representation Shift (ICCV 2025), section 3.3. Its code is not public; that tokens merge
after the MLP follows from the paper's GFLOPs.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tokmerge_jax.merging import matching
from tokmerge_jax.merging.merger import Merger, register
from tokmerge_jax.merging.prune import drop, most_dropped
from tokmerge_jax.merging.tokens import Evidence, Tokens, read
from tokmerge_jax.merging.vid_tldr import merge_salient


@register("shift")
class Shift(Merger):
    """Merges as vid-TLDR, but after the MLP; a source is weighted by how much the MLP shifts it."""

    needs = frozenset({"shift"})
    place = "mlp"

    @staticmethod
    def most(tokens: int, class_tokens: int) -> int:
        """Half of the unprotected tokens can merge."""
        return matching.most(tokens, class_tokens)

    def macs(self, tokens: int, width: int, heads: int) -> int:
        """Counts the cosines of tokens, and the norms of their shifts."""
        del heads
        return (matching.pairs(tokens, self.class_tokens) + tokens) * width

    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Merges tokens [B,N,C] by their shifts; returns [B,N-r,C]."""
        shift = read("shift", self, tokens, evidence)
        return merge_salient(tokens, shift, self.r, self.class_tokens)


@register("shift_prune")
class ShiftPrune(Merger):
    """Drops the r tokens that the MLP shifts least; nothing merges."""

    needs = frozenset({"shift"})
    place = "mlp"

    @property
    def drops(self) -> bool:
        """Tokens are dropped."""
        return True

    @staticmethod
    def most(tokens: int, class_tokens: int) -> int:
        """All unprotected tokens can be dropped, but one token stays."""
        return most_dropped(tokens, class_tokens)

    def macs(self, tokens: int, width: int, heads: int) -> int:
        """Counts the norms of shifts."""
        del heads
        return tokens * width

    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Drops tokens of [B,N,C] by their shifts; returns [B,N-r,C] in order."""
        return drop(tokens, read("shift", self, tokens, evidence), self.r, self.class_tokens)


def distance(a: Float[Array, "B N C"], b: Float[Array, "B N C"]) -> Float[Array, "B N"]:
    """Computes the Euclidean distance of corresponding tokens, in float32; no gradient passes."""
    a, b = (jax.lax.stop_gradient(x).astype(jnp.float32) for x in (a, b))
    return jnp.linalg.norm(a - b, axis=-1)
