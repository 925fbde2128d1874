"""Merging in divided space-time: whole frames after attention over time, then patches in frames.

Source: TESTA (Findings of EMNLP 2023), section 3.
"""

import dataclasses
import itertools
import sys
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import flax.struct
import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from jaxtyping import Array, Float

from tokmerge_jax.merging import matching, merge, mergers, schedule
from tokmerge_jax.merging.mergers import Merger
from tokmerge_jax.merging.tokens import Evidence, Tokens, read
from tokmerge_jax.types import LayerCost, UserError


@runtime_checkable
class FrameMerger(Protocol):
    """What a block may do to its frames: T become T - r, all places of a frame alike.

    Attributes:
      needs: the parts of `Evidence` that it reads, of the attention over time at each place.
    """

    needs: ClassVar[frozenset[str]]

    @property
    def r(self) -> int:
        """Frames that merge away."""
        ...

    def __call__(self, frames: Tokens, evidence: Evidence) -> Tokens:
        """Frames [B,T,P,C] and evidence about [B,P,T] -> frames [B,T-r,P,C].

        Sizes are [B,T,P]; an origin is that of whole frames, [B,T].
        """
        ...


@dataclasses.dataclass(frozen=True)
class Vote:
    """Merges the r frames whose places are most like another frame's; see `matching.voted`.

    Attributes:
      r: frames that merge away, capped at (T - class_tokens) // 2.
      vote: what a frame's score is, of those at its places.
      class_tokens: see `matching.voted`.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"keys"})
    r: int
    vote: str = "min"
    class_tokens: int = 0

    def __call__(self, frames: Tokens, evidence: Evidence) -> Tokens:
        """Frames [B,T,P,C] and keys [B,P,T,D] -> frames [B,T-r,P,C]."""
        keys = read("keys", self, frames, evidence, frames=True)
        pairs = matching.voted(keys, self.r, self.vote, self.class_tokens)
        return merge.tokens(pairs, frames)


@dataclasses.dataclass(frozen=True)
class PruneFrames:
    """Drops the r frames that get the least attention from the others, at all places together.

    Attributes:
      r: frames that are dropped.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"received"})
    r: int

    def __call__(self, frames: Tokens, evidence: Evidence) -> Tokens:
        """Frames [B,T,P,C] and the attention [B,P,T] that they get -> frames [B,T-r,P,C]."""
        received = read("received", self, frames, evidence, frames=True)
        kept = matching.highest(received.mean(axis=1), self.r)
        return merge.keep(kept, frames)


@dataclasses.dataclass(frozen=True)
class InFrames:
    """A vote on frames as the merger of a network that takes each frame as a sample.

    Attributes:
      merger: the vote.
      frames: T.
    """

    needs: ClassVar[frozenset[str]] = Vote.needs
    merger: Vote
    frames: int

    @property
    def r(self) -> int:
        """None of a frame's tokens merge away."""
        return 0

    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Tokens [B T,N,C] -> tokens [B (T-r),N,C]; they cannot be traced.

        Class tokens, if there are any, vote and merge like all others.
        """
        assert tokens.origin is None

        def by_frame(x: jax.Array) -> jax.Array:
            return rearrange(x, "(b t) ... -> b t ...", t=self.frames)

        about = jax.tree.map(
            lambda x: rearrange(x, "(b t) n ... -> b n t ...", t=self.frames), evidence
        )
        merged = self.merger(jax.tree.map(by_frame, tokens), about)
        return jax.tree.map(lambda x: rearrange(x, "b t ... -> (b t) ..."), merged)


class Clip(flax.struct.PyTreeNode):
    """The patches of a video, frame by frame, without class tokens.

    Attributes:
      x: [B,T,P,C].
      size: float32 [B,T,P], how much each stands for; None as long as all stand for themselves.
      origin: int32 [B,N0], for each patch of the input the place t P + p that holds it now; None
        unless patches are traced.
    """

    x: jax.Array
    size: jax.Array | None = None
    origin: jax.Array | None = None

    @classmethod
    def traced(cls, x: Float[Array, "B T P C"]) -> "Clip":
        """Patches that remember where each of `x` goes."""
        return cls(x, origin=_iota(len(x), x.shape[1] * x.shape[2]))

    def merge_frames(self, merger: FrameMerger, evidence: Evidence) -> "Clip":
        """[B,T,P,C] -> [B,T-r,P,C]; the evidence is about [B,P,T]."""
        batch, frames, patches, _ = self.x.shape
        own = None if self.origin is None else _iota(batch, frames)
        merged = merger(Tokens(self.x, self.size, own), evidence)
        place = None
        if merged.origin is not None:
            place = merged.origin[..., None] * patches + jnp.arange(patches)[None, None]
            place = rearrange(place, "b t p -> b (t p)")
        return self._moved(merged.x, merged.size, place)

    def merge_patches(
        self, merger: Merger, evidence: Evidence, rows: Float[Array, "I M C"]
    ) -> "Clip":
        """[B,T,P,C] -> [B,T,P-r,C], each frame's patches apart.

        Args:
          merger: protects one class token.
          evidence: about `rows`.
          rows: the frames' patches [B T,1+P,C] behind a class token, which is dropped.
        """
        batch, frames, patches, _ = self.x.shape
        size = self.size
        if size is not None:
            size = rearrange(size, "b t p -> (b t) p")
            size = jnp.pad(size, ((0, 0), (1, 0)), constant_values=1)
        own = None if self.origin is None else _iota(batch * frames, patches + 1)
        merged = merger(Tokens(rows, size, own), evidence)
        left = merged.x.shape[1] - 1

        def by_frame(x: jax.Array) -> jax.Array:
            return rearrange(x[:, 1:], "(b t) p ... -> b t p ...", t=frames)

        size = None if merged.size is None else by_frame(merged.size)
        place = None
        if merged.origin is not None:
            first = left * jnp.arange(frames, dtype=jnp.int32)[None, :, None] - 1
            place = rearrange(first + by_frame(merged.origin), "b t p -> b (t p)")
        return self._moved(by_frame(merged.x), size, place)

    def _moved(self, x: jax.Array, size: jax.Array | None, place: jax.Array | None) -> "Clip":
        origin = self.origin
        if origin is not None:
            assert place is not None
            origin = merge.follow(place, origin)
        return Clip(x, size, origin)


@dataclasses.dataclass(frozen=True)
class Aggregation:
    """What one block does: frames merge after its attention over time, patches after that in space.

    Attributes:
      frames: or None.
      patches: or None.
    """

    frames: FrameMerger | None = None
    patches: Merger | None = None


def protected_frames(r_patches: Sequence[int]) -> int:
    """Frames that the limit of merging frames leaves out: 1 where any block merges patches too.

    TESTA's limit is that of a sequence with the class token, which it protects then.
    """
    return int(any(r_patches))


def plan(
    name: str, r_frames: Sequence[int], r_patches: Sequence[int], vote: str = "min"
) -> tuple[Aggregation, ...]:
    """What every block does.

    Args:
      name: "testa" (frames vote, patches merge by their keys), "prune" (both are dropped), another
        key of `MERGERS` (patches merge by it, frames vote), or "none".
      r_frames: frames that merge away in each block (`schedule.resolve`, of which
        `protected_frames` are protected).
      r_patches: patches of each frame that do.
      vote: see `matching.voted`.

    Raises:
      UserError: if the name or the vote is unknown.
    """
    if vote not in matching.VOTES:
        known = ", ".join(matching.VOTES)
        raise UserError(f"config.model.merger.vote={vote!r} is none of {known}")
    if name == "none":
        return (Aggregation(),) * len(r_frames)
    patches = mergers.per_layer("tome" if name == "testa" else name, r_patches, class_tokens=1)
    protected = protected_frames(r_patches)

    def of_frames(r: int) -> FrameMerger | None:
        if not r:
            return None
        return PruneFrames(r) if name == "prune" else Vote(r, vote, protected)

    pairs = zip(r_frames, patches, strict=True)
    return tuple(Aggregation(of_frames(r), merger) for r, merger in pairs)


def of_testa(
    merging_type: str | Sequence[str],
    r: Any,  # as of `schedule.resolve`
    depth: int,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The frames and the patches that merge in each block, from TESTA's own two settings.

    Args:
      merging_type: "patch", "frame", "frame&patch", "patch-frame", "frame-patch" (block by block
        in turn), or one of the first three, or "none", for each block.
      r: numbers that the merges take one after the other, in a block frames first; or what
        `schedule.resolve` spreads over the blocks.
      depth: blocks.

    Raises:
      UserError: if the type or the form of `r` is unknown.
    """
    kinds = _kinds(merging_type, depth)
    if not isinstance(r, list):
        r = schedule.resolve(r, depth, sys.maxsize)
    numbers = iter(r)
    taken = [
        (next(numbers, 0) if "frame" in kind else 0, next(numbers, 0) if "patch" in kind else 0)
        for kind in kinds
    ]
    frames, patches = zip(*taken, strict=True)
    return frames, patches


def _kinds(merging_type: str | Sequence[str], depth: int) -> Sequence[str]:
    """What merges in each block."""
    known = ("none", "patch", "frame", "frame&patch")
    kinds = merging_type.split("-") if isinstance(merging_type, str) else merging_type
    if not kinds or any(kind not in known for kind in kinds):
        raise UserError(
            f"the merging type {merging_type!r} is unknown; write patch, frame, frame&patch,"
            " patch-frame, frame-patch, or a list of those without a dash"
        )
    return tuple(itertools.islice(itertools.cycle(kinds), depth))


def cost(
    r_frames: Sequence[int],
    r_patches: Sequence[int],
    frames: int,
    patches: int,
    *,
    width: int,
    heads: int,
    patch_inputs: int,
) -> tuple[LayerCost, ...]:
    """Multiply-accumulates of a divided space-time ViT, as `schedule.vit_cost` counts them.

    Args:
      r_frames: frames that merge away in each block.
      r_patches: patches of each frame that do.
      frames: T of the input.
      patches: P of a frame of the input.
      width: channels.
      heads: K; matching compares mean keys of width / K channels.
      patch_inputs: numbers in a patch.
    """
    tokens, metric = frames * patches, width // heads
    costs = [LayerCost("patch_embedding", 1 + tokens, 1 + tokens, tokens * width * patch_inputs)]
    for i, (r, s) in enumerate(zip(r_frames, r_patches, strict=True)):
        macs = frames * patches * (5 * width**2 + 2 * frames * width)
        macs += patches * _pairs(frames) * metric if r else 0
        entering, frames, rows = 1 + frames * patches, frames - r, patches + 1
        macs += frames * rows * (4 * width**2 + 2 * rows * width)
        macs += frames * _pairs(rows) * metric if s else 0
        patches -= s
        leaving = 1 + frames * patches
        costs.append(LayerCost(f"block_{i}", entering, leaving, macs + 8 * leaving * width**2))
    return tuple(costs)


def _pairs(places: int) -> int:
    """How many pairs a matching compares."""
    return (places // 2) * (places - places // 2)


def _iota(batch: int, length: int) -> jax.Array:
    return repeat(jnp.arange(length, dtype=jnp.int32), "n -> b n", b=batch)
