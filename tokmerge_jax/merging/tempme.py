"""TempMe: neighbouring clips of a video join and become one clip.

Source: TempMe (ICLR 2025), section 3. A video begins as T clips of one frame each.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from jaxtyping import Array, Float

from tokmerge_jax.merging import costs, matching, merge
from tokmerge_jax.merging.merger import Merger
from tokmerge_jax.merging.tokens import Tokens
from tokmerge_jax.types import LayerCost, UserError


@dataclasses.dataclass(frozen=True)
class Join:
    """Joins every `clips` neighbouring clips into one, and merges tokens of the joined clip.

    The class tokens of all clips lead the joined one and never merge.

    Attributes:
      clips: k, the number of neighbours that become one.
      class_tokens: c, the number of class tokens of each clip before; the joined one has k c.
      r: number of tokens of a joined clip that merge, compared as they enter the block; 0 only
        joins.
    """

    clips: int
    class_tokens: int
    r: int

    def __call__(self, tokens: Tokens, positions: Float[Array, "clips C"] | None = None) -> Tokens:
        """Joins clips [B k,N,C], those of a video in a row; returns tokens [B,k N - r,C].

        Args:
          tokens: the tokens of all clips of all videos.
          positions: added to the tokens of each entering clip of a video; only if tokens merge, and
            after they were compared, as in the original.
        """
        x, size = self._together(tokens.x), tokens.size
        size = jnp.ones(tokens.x.shape[:2], jnp.float32) if size is None else size
        origin = None if tokens.origin is None else self._origin(tokens)
        position = None if tokens.position is None else self._together(tokens.position)
        joined = tokens.replace(x=x, size=self._together(size), origin=origin, position=position)
        if not self.r:
            return joined
        pairs = matching.bipartite(x, self.r, self.clips * self.class_tokens)
        if positions is not None:
            videos = len(tokens.x) // len(positions)
            shifted = tokens.x + repeat(positions, "k c -> (b k) 1 c", b=videos).astype(x.dtype)
            joined = joined.replace(x=self._together(shifted))
        return merge.tokens(pairs, joined)

    def macs(self, tokens: int, width: int) -> int:
        """The cost of joining clips with `tokens` in all: cosines, if tokens merge."""
        return matching.pairs(tokens, self.clips * self.class_tokens) * width if self.r else 0

    def _together(self, x: jax.Array) -> jax.Array:
        """Joins [B k,N,...] to [B,k N,...]: the class tokens of all clips, then all others."""
        x = rearrange(x, "(b k) n ... -> b k n ...", k=self.clips)
        parts = x[:, :, : self.class_tokens], x[:, :, self.class_tokens :]  # [B,k,c,...], the rest
        return jnp.concatenate([rearrange(y, "b k n ... -> b (k n) ...") for y in parts], axis=1)

    def _origin(self, tokens: Tokens) -> jax.Array:
        """The place of each input token in the joined clip, frame after frame."""
        assert tokens.origin is not None
        length = tokens.x.shape[1]
        place = jnp.arange(self.clips * length, dtype=jnp.int32)
        place = self._together(rearrange(place, "(k n) -> k n", k=self.clips))[0]
        place = jnp.argsort(place).astype(jnp.int32)
        origin = rearrange(tokens.origin, "(b k) n -> b k n", k=self.clips)
        shift = length * jnp.arange(self.clips, dtype=jnp.int32)[None, :, None]
        return place[rearrange(origin + shift, "b k n -> b (k n)")]


@dataclasses.dataclass(frozen=True)
class Stage:
    """The work of one layer of a network on the clips of a video.

    Attributes:
      clips: number of clips of the video in this layer's attention.
      tokens: N of each clip in this layer's attention.
      join: the join before the layer, or None.
      merger: the merger of each clip's tokens in the layer, or None.
    """

    clips: int
    tokens: int
    join: Join | None
    merger: Merger | None

    @property
    def tokens_out(self) -> int:
        """N of each clip after this layer."""
        return self.tokens - (self.merger.r if self.merger else 0)


def plan(
    depth: int,
    frames: int,
    tokens: int,
    r: Sequence[int],
    layers: Sequence[int],
    clips: Sequence[int],
    *,
    cross: int | float,
    intra: int | float,
    within: type[Merger],
    class_tokens: int = 1,
) -> tuple[Stage, ...]:
    """Plans TempMe's layers: merging within frames first, then clips that join and merge.

    Args:
      depth: number of layers.
      frames: T.
      tokens: number of tokens of a frame, its class token included.
      r: number of tokens of a frame that merge in each layer before the first of `layers`.
      layers: the layers in which clips join, rising.
      clips: number of clips that become one in each of `layers`.
      cross: percentage of a joined clip's tokens that merge when it is joined.
      intra: the same of a clip, in each layer from the first of `layers` on.
      within: the merger of tokens within frames and clips.
      class_tokens: number of class tokens of a frame.

    Raises:
      UserError: if the frames cannot be joined in this way, or a number is out of range.
    """
    rest = {"cross": cross, "intra": intra, "within": within, "class_tokens": class_tokens}
    return tuple(_stages(depth, frames, tokens, r, layers, clips, **rest))


def cost(
    stages: Sequence[Stage],
    *,
    width: int,
    heads: int,
    patch_inputs: int,
    class_tokens: int = 1,
    mlp_width: int | None = None,
) -> tuple[LayerCost, ...]:
    """Multiply-accumulates of a ViT over all clips of a video, as `merging.costs` counts them.

    Args:
      stages: the result of `plan`.
      width: number of channels.
      heads: K.
      patch_inputs: number of values in a patch.
      class_tokens: number of class tokens of a frame, which are not embedded.
      mlp_width: hidden width of the MLPs; None = four times `width`.
    """
    first = stages[0]
    frames = first.clips * (first.join.clips if first.join else 1)
    entering = first.clips * (first.tokens + (first.join.r if first.join else 0))
    patches = entering - frames * class_tokens
    layers = [LayerCost("patch_embedding", entering, entering, patches * width * patch_inputs)]
    for i, stage in enumerate(stages):
        macs = costs.block(stage.merger, stage.tokens, width, heads, mlp_width)
        if stage.join:
            macs += stage.join.macs(stage.tokens + stage.join.r, width)
        left = stage.clips * stage.tokens_out
        layers.append(LayerCost(f"block_{i}", layers[-1].tokens_out, left, stage.clips * macs))
    return tuple(layers)


def _joining(
    depth: int,
    frames: int,
    layers: Sequence[int],
    clips: Sequence[int],
    percentages: Sequence[int | float],
) -> dict[int, int]:
    """Layer -> number of clips that become one in it.

    Raises:
      UserError: as `plan`.
    """
    if len(layers) != len(clips) or not layers:
        raise UserError(
            f"clips join in layers {tuple(layers)} by {tuple(clips)}; write as many of both"
        )
    if list(layers) != sorted(set(layers)) or layers[0] < 0 or layers[-1] >= depth:
        raise UserError(
            f"the layers in which clips join, {tuple(layers)}, must rise from 0 to {depth - 1}"
        )
    if min(clips) < 1 or frames % math.prod(clips):
        raise UserError(
            f"{frames} frames cannot be joined by {tuple(clips)}, whose product must divide them"
        )
    if not all(0 <= percentage < 100 for percentage in percentages):
        raise UserError(
            f"percentages of tokens to merge, {percentages}, must be from 0 to below 100"
        )
    return dict(zip(layers, clips, strict=True))


def _stages(
    depth: int,
    frames: int,
    tokens: int,
    r: Sequence[int],
    layers: Sequence[int],
    clips: Sequence[int],
    *,
    cross: int | float,
    intra: int | float,
    within: type[Merger],
    class_tokens: int,
) -> Iterator[Stage]:
    joining, count = _joining(depth, frames, layers, clips, (cross, intra)), frames
    for layer in range(depth):
        k = joining.get(layer, 1)
        joined = tokens * k
        wanted = (
            min(matching.most(joined, class_tokens * k), _share(joined, cross))
            if layer in joining
            else 0
        )
        across = wanted if k > 1 else 0
        join = Join(k, class_tokens, across) if layer in joining else None
        count, class_tokens, left = count // k, class_tokens * k, joined - wanted
        inside = min(within.most(left, class_tokens), _share(left, intra))
        inside = r[layer] if layer < layers[0] else inside
        tokens = joined - across
        merger = within.at(layer, depth, inside, class_tokens) if inside else None
        yield Stage(count, tokens, join, merger)
        tokens -= inside


def _share(tokens: int, percentage: int | float) -> int:
    """A percentage of the tokens, computed in the original's order of operations.

    The order decides whether rounding gives a result just below a whole number.
    """
    return int(tokens * (percentage / 100))
