"""Mergers: the frozen objects of static sizes that a configuration names and a block calls.

A merger of one's own is any frozen object with `r`, `needs` and `__call__`; `MERGERS` makes it
known to configurations.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol, runtime_checkable

import jax.numpy as jnp

from tokmerge_jax.merging import matching, merge
from tokmerge_jax.merging.tokens import Evidence, Tokens, read
from tokmerge_jax.merging.vid_tldr import foreground
from tokmerge_jax.types import UserError


@runtime_checkable
class Merger(Protocol):
    """What a block may do to its tokens: N become N - r.

    Attributes:
      needs: the parts of `Evidence` that it reads; nothing else is computed for it.
    """

    needs: ClassVar[frozenset[str]]

    @property
    def r(self) -> int:
        """Tokens that merge away."""
        ...

    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Tokens [B,N,C] and what attention told about them -> tokens [B,N-r,C]."""
        ...


@dataclasses.dataclass(frozen=True)
class ToMe:
    """Merges the r tokens whose keys are most like another's; means are weighted by size.

    Source: Token Merging (ICLR 2023).

    Attributes:
      r: tokens that merge away, capped at half of the unprotected.
      class_tokens: so many tokens at the beginning are left alone.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"keys"})
    r: int
    class_tokens: int = 0

    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Tokens [B,N,C] and their mean keys -> tokens [B,N-r,C]."""
        keys = read("keys", self, tokens, evidence)
        pairs = matching.bipartite(keys, self.r, self.class_tokens)
        return merge.tokens(pairs, tokens)


@dataclasses.dataclass(frozen=True)
class VidTLDR:
    """Merges the r tokens most like another; a source counts as much as its attention is peaked.

    Background tokens vanish when they merge. Source: vid-TLDR (CVPR 2024), section 3.3.

    Attributes:
      r: tokens that merge away, capped at half of the unprotected.
      class_tokens: so many tokens at the beginning are left alone, and their attention is no
        measure of the others'. The paper's network has none.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"entropy"})
    r: int
    class_tokens: int = 0

    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Tokens [B,N,C] and the negative entropy of their attention -> tokens [B,N-r,C]."""
        entropy = read("entropy", self, tokens, evidence)
        pairs = matching.bipartite(tokens.x, self.r, self.class_tokens, ordered=True)
        weight = foreground(entropy[:, self.class_tokens :])
        weight = jnp.pad(weight, ((0, 0), (self.class_tokens, 0)), constant_values=1)
        return merge.tokens(pairs, tokens, weight)


@dataclasses.dataclass(frozen=True)
class Prune:
    """Drops the r tokens that get the least attention from the others; nothing merges.

    What TESTA (Findings of EMNLP 2023) compares aggregation with.

    Attributes:
      r: tokens that are dropped.
      class_tokens: so many tokens at the beginning stay.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"received"})
    r: int
    class_tokens: int = 0

    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Tokens [B,N,C] and the attention that they get -> tokens [B,N-r,C] in their order."""
        score = read("received", self, tokens, evidence).at[:, : self.class_tokens].set(jnp.inf)
        return merge.keep(matching.highest(score, self.r), tokens)


MERGERS: dict[str, Callable[..., Merger]] = {
    "prune": Prune,
    "tome": ToMe,
    "vid_tldr": VidTLDR,
}
"""Mergers by the name that configurations use."""


def per_layer(
    name: str, schedule: Sequence[int], class_tokens: int = 0
) -> tuple[Merger | None, ...]:
    """One merger per layer of `schedule` (`schedule.resolve`), None where r is 0.

    Args:
      name: a key of `MERGERS`, or "none".
      schedule: r of each layer.
      class_tokens: so many tokens at the beginning must be left alone.

    Raises:
      UserError: if the name is unknown or its merger cannot protect tokens.
    """
    if name == "none":
        return (None,) * len(schedule)
    if name not in MERGERS:
        known = ", ".join(["none", *sorted(MERGERS)])
        raise UserError(f"the merger {name!r} is unknown; choose one of {known}")
    kind, protect = MERGERS[name], {"class_tokens": class_tokens} if class_tokens else {}
    try:
        return tuple(kind(r, **protect) if r else None for r in schedule)
    except TypeError as error:
        raise UserError(
            f"the merger {name!r} cannot protect class tokens; use tome, for example"
        ) from error
