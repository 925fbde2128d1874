"""The patches of a video by frame: whole frames can merge, or patches within each frame.

Source: TESTA (Findings of EMNLP 2023), section 3.
"""

import flax.struct
import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from jaxtyping import Array, Float

from tokmerge_jax.merging import merge
from tokmerge_jax.merging.merger import Merger
from tokmerge_jax.merging.tokens import Evidence, Tokens


class VideoTokens(flax.struct.PyTreeNode):
    """The patches of a video, frame by frame, without class tokens.

    Attributes:
      x: [B,T,N,C].
      size: float32 [B,T,N], how much each stands for; None as long as all stand for themselves.
      origin: int32 [B,N0], for each patch of the input the place t N + n that holds it now; None
        unless patches are traced.
    """

    x: jax.Array
    size: jax.Array | None = None
    origin: jax.Array | None = None

    @classmethod
    def traced(cls, x: Float[Array, "B T N C"]) -> "VideoTokens":
        """Patches that remember where each of `x` goes."""
        return cls(x, origin=_iota(len(x), x.shape[1] * x.shape[2]))

    def merge_frames(self, merger: Merger, evidence: Evidence) -> "VideoTokens":
        """Merges frames, [B,T,N,C] -> [B,T-r,N,C]; the evidence is about [B,N,T]."""
        batch, frames, patches, _ = self.x.shape
        own = None if self.origin is None else _iota(batch, frames)
        merged = merger(Tokens(self.x, self.size, own), evidence)
        place = None
        if merged.origin is not None:
            place = merged.origin[..., None] * patches + jnp.arange(patches)[None, None]  # [B,T,N]
        return self._moved(merged.x, merged.size, place)

    def merge_patches(
        self, merger: Merger, evidence: Evidence, rows: Float[Array, "I M C"]
    ) -> "VideoTokens":
        """Merges patches within each frame, [B,T,N,C] -> [B,T,N-r,C].

        Args:
          merger: a merger that protects one class token.
          evidence: the evidence about `rows`.
          rows: each frame's class token and patches [B T,1+N,C]; the class tokens are dropped.
        """
        batch, frames, patches, _ = self.x.shape
        size = self.size
        if size is not None:
            size = rearrange(size, "b t n -> (b t) n")
            size = jnp.pad(size, ((0, 0), (1, 0)), constant_values=1)  # [B T,1+N]
        own = None if self.origin is None else _iota(batch * frames, patches + 1)
        merged = merger(Tokens(rows, size, own), evidence)
        left = merged.x.shape[1] - 1

        def by_frame(x: jax.Array) -> jax.Array:
            return rearrange(x[:, 1:], "(b t) n ... -> b t n ...", t=frames)

        size = None if merged.size is None else by_frame(merged.size)
        place = None
        if merged.origin is not None:
            first = left * jnp.arange(frames, dtype=jnp.int32)[None, :, None] - 1
            place = first + by_frame(merged.origin)  # [B,T,N]
        return self._moved(by_frame(merged.x), size, place)

    def _moved(
        self, x: jax.Array, size: jax.Array | None, place: jax.Array | None
    ) -> "VideoTokens":
        """The tokens after a merge, which moved the patch of each place [B,T,N] to `place`."""
        origin = self.origin
        if origin is not None:
            assert place is not None
            origin = merge.follow(rearrange(place, "b t n -> b (t n)"), origin)
        return VideoTokens(x, size, origin)


def _iota(batch: int, length: int) -> jax.Array:
    return repeat(jnp.arange(length, dtype=jnp.int32), "n -> b n", b=batch)
