"""Merging in divided space-time: whole frames after attention over time, then patches in frames.

Source: TESTA (Findings of EMNLP 2023), section 3.
"""

import dataclasses
import itertools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from jaxtyping import Array, Float

from tokmerge_jax.config.parts import none_of
from tokmerge_jax.merging import costs, matching, merge, merger, schedule
from tokmerge_jax.merging.merger import Merger, Place, register
from tokmerge_jax.merging.tokens import Evidence, Tokens, read
from tokmerge_jax.types import LayerCost, UserError


@register("vote")
@dataclasses.dataclass(frozen=True)
class Vote(Merger):
    """Merges the r frames whose places are most like another frame's; see `matching.voted`.

    Attributes:
      vote: what a frame's score is, of those at its places.
    """

    needs = frozenset({"keys"})
    place = "time"
    vote: str = "min"

    @staticmethod
    def most(tokens: int, class_tokens: int) -> int:
        """Half of the frames but for `class_tokens`, which `matching.voted` explains."""
        return matching.most(tokens, class_tokens)

    def macs(self, tokens: int, width: int, heads: int) -> int:
        """Cosines of mean keys, at each place."""
        return matching.pairs(tokens) * (width // heads)

    def __call__(self, tokens: Tokens, evidence: Evidence) -> Tokens:
        """Frames [B,T,P,C] and keys [B,P,T,D] -> frames [B,T-r,P,C]."""
        keys = read("keys", self, tokens, evidence, frames=True)
        pairs = matching.voted(keys, self.r, self.vote, self.class_tokens)
        return merge.tokens(pairs, tokens)


@dataclasses.dataclass(frozen=True)
class InFrames(Vote):
    """A vote on frames as the merger of a network that takes each frame as a sample.

    Attributes:
      frames: T.
    """

    place = "attention"
    frames: int = 1

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
        merged = super().__call__(jax.tree.map(by_frame, tokens), about)
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

    def merge_frames(self, merger: Merger, evidence: Evidence) -> "Clip":
        """[B,T,P,C] -> [B,T-r,P,C]; the evidence is about [B,P,T]."""
        batch, frames, patches, _ = self.x.shape
        own = None if self.origin is None else _iota(batch, frames)
        merged = merger(Tokens(self.x, self.size, own), evidence)
        place = None
        if merged.origin is not None:
            place = merged.origin[..., None] * patches + jnp.arange(patches)[None, None]  # [B,T,P]
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
            size = jnp.pad(size, ((0, 0), (1, 0)), constant_values=1)  # [B T,1+P]
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
      frames: what acts at the place "time", or None.
      patches: what acts at the place "attention", or None.
    """

    frames: Merger | None = None
    patches: Merger | None = None


def protected_frames(r_patches: Sequence[int]) -> int:
    """Frames that the limit of merging frames leaves out: 1 where any block merges patches too.

    TESTA's limit is that of a sequence with the class token, which it protects then.
    """
    return int(any(r_patches))


def find(
    name: str, frames: str = "", places: Sequence[Place] = ("attention",)
) -> tuple[type[Merger], type[Merger]]:
    """What merges frames, and what merges the patches of each.

    Args:
      name: "testa" is ToMe of patches, another one a merger of them (`merger.find`).
      frames: a merger at the place "time"; "" is the vote, or pruning where patches are pruned.
      places: where the network can merge patches.

    Raises:
      UserError: see `merger.find`.
    """
    patches = "tome" if name in ("testa", "none") else name
    frames = frames or ("prune_frames" if name == "prune" else "vote")
    return (
        merger.find(frames, ("time",), key="model.merger.frames_by", also=()),
        merger.find(patches, places, also=("none", "testa")),
    )


def most_patches(kind: type[Merger]) -> Callable[[int], int]:
    """The largest r of a frame's patches, by their number and the class token's: one is left."""
    return lambda tokens: min(kind.most(tokens, class_tokens=1), max(tokens - 2, 0))


def plan(
    kinds: tuple[type[Merger], type[Merger]],
    r_frames: Sequence[int],
    r_patches: Sequence[int],
    vote: str = "min",
) -> tuple[Aggregation, ...]:
    """What every block does.

    Args:
      kinds: what merges frames and what merges patches (`find`).
      r_frames: frames that merge away in each block (`schedule.resolve`, of which
        `protected_frames` are protected).
      r_patches: patches of each frame that do.
      vote: of `Vote`, if frames merge by that.

    Raises:
      UserError: if the vote is unknown.
    """
    if vote not in matching.VOTES:
        raise none_of("model.merger.vote", vote, matching.VOTES)
    depth, protected = len(r_frames), protected_frames(r_patches)

    def of_frames(layer: int, r: int) -> Merger:
        own = kinds[0].at(layer, depth, r, protected)
        return dataclasses.replace(own, vote=vote) if isinstance(own, Vote) else own

    return tuple(
        Aggregation(
            of_frames(i, r) if r else None, kinds[1].at(i, depth, s, class_tokens=1) if s else None
        )
        for i, (r, s) in enumerate(zip(r_frames, r_patches, strict=True))
    )


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
        r = schedule.resolve(r, depth, sys.maxsize, most=lambda tokens: tokens)
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
    plan: Sequence[Aggregation],
    frames: int,
    patches: int,
    *,
    width: int,
    heads: int,
    patch_inputs: int,
) -> tuple[LayerCost, ...]:
    """Multiply-accumulates of a divided space-time ViT, as `merging.costs` counts them.

    Args:
      plan: what each block merges.
      frames: T of the input.
      patches: P of a frame of the input.
      width: channels.
      heads: K.
      patch_inputs: numbers in a patch.
    """
    tokens = 1 + frames * patches
    layers = [LayerCost("patch_embedding", tokens, tokens, (tokens - 1) * width * patch_inputs)]
    for i, block in enumerate(plan):
        out = frames * patches * width**2  # a second projection of what is seen over time
        macs = patches * costs.attention(frames, width) + out
        if block.frames:
            macs += patches * block.frames.macs(frames, width, heads)
            frames -= block.frames.r
        macs += frames * costs.attention(1 + patches, width)
        if block.patches:
            macs += frames * block.patches.macs(1 + patches, width, heads)
            patches -= block.patches.r
        left = 1 + frames * patches
        layers.append(LayerCost(f"block_{i}", tokens, left, macs + costs.mlp(left, width)))
        tokens = left
    return tuple(layers)


def _iota(batch: int, length: int) -> jax.Array:
    return repeat(jnp.arange(length, dtype=jnp.int32), "n -> b n", b=batch)
