"""TimeSformer: a ViT over a video's frames, whose blocks attend over time and within frames.

Source: TimeSformer (ICML 2021); merging as in TESTA (Findings of EMNLP 2023), section 3.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import pack, rearrange, repeat
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tokmerge_jax.layers.block import Block
from tokmerge_jax.layers.divided import DividedBlock
from tokmerge_jax.layers.functional import Dense, patchify
from tokmerge_jax.layers.positions import resample, resample_grid
from tokmerge_jax.merging import Tokens, proportional
from tokmerge_jax.merging.space_time import VideoTokens
from tokmerge_jax.merging.testa import Aggregation


class TimeSformer(nn.Module):
    """TimeSformer, whose result is the tokens, the class token at the start.

    Attributes:
      width: C.
      heads: K.
      merging: the mergers of each block; their number is the depth.
      patch_size: edge of a patch in pixels.
      table_frames: number of frames of the learned table of times.
      table_patches: number of patches of the learned table of positions.
      attention: "divided": over time, then within frames; "joint": over all tokens at once;
        "space": within frames alone, each with a class token of its own, and no times.
      learned_scale: see `DividedBlock`.
      proportional: whether a key's weight is the number of tokens merged into it; not in "divided".
      remat: whether blocks are recomputed in the backward pass: less memory, more time.
      dtype: dtype of the computation.
    """

    width: int
    heads: int
    merging: tuple[Aggregation, ...]
    patch_size: int
    table_frames: int
    table_patches: int
    attention: str = "divided"
    learned_scale: bool = False
    proportional: bool = False
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, video: Float[Array, "B T H W 3"], *, train: bool = False, trace: bool = False
    ) -> Tokens:
        """Encodes normalised pixels to normed tokens [B,1+N,C].

        Tokens come frame by frame, in "joint" patch by patch; in "space" each frame's class token
        leads its patches. A video of another length or size than the tables' reads the nearest
        entries. `trace` ("divided" only) records which token holds each patch t N + n of the input.
        """
        class_token, x = self._embed(video)
        if self.attention == "divided":
            clip = VideoTokens.traced(x) if trace else VideoTokens(x)
            tokens = self._divided(class_token, clip, train)
        else:
            assert not trace, 'only attention "divided" records origins'
            plain = self._joint if self.attention == "joint" else self._space
            tokens = plain(class_token, x, train)
        norm = nn.LayerNorm(1e-6, dtype=self.dtype, name="norm")
        return tokens.replace(x=norm(tokens.x))

    def _embed(self, video: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Embeds the class token [B,1,C] and the patches [B,T,N,C], with positions and times."""
        batch, frames = video.shape[:2]
        embed = Dense(self.width, dtype=self.dtype, name="patch_embedding")
        x = rearrange(embed(patchify(video, self.patch_size)), "b (t p) c -> b t p c", t=frames)
        normal = nn.initializers.normal(0.02)
        class_token = self.param("class_embedding", normal, (self.width,))
        table = self.param("position_embedding", normal, (1 + self.table_patches, self.width))
        positions = resample_grid(table[1:], math.isqrt(x.shape[2]))
        x += positions[None, None].astype(x.dtype)
        class_token = repeat(class_token + table[0], "c -> b 1 c", b=batch)
        if self.attention != "space":
            zeros = nn.initializers.zeros_init()
            times = self.param("time_embedding", zeros, (self.table_frames, self.width))
            x += resample(times, frames)[None, :, None].astype(x.dtype)
        return class_token.astype(x.dtype), x

    def _divided(self, class_token: jax.Array, clip: VideoTokens, train: bool) -> Tokens:
        """Applies blocks that attend over time, then within frames; returns one row of tokens."""
        block = nn.remat(DividedBlock) if self.remat and train else DividedBlock
        for i, merging in enumerate(self.merging):
            layer = block(
                self.heads, merging, self.learned_scale, dtype=self.dtype, name=f"block_{i}"
            )
            class_token, clip = layer(class_token, clip)
        size, origin = clip.size, clip.origin
        if size is not None:
            size = rearrange(size, "b t p -> b (t p)")
            size = jnp.pad(size, ((0, 0), (1, 0)), constant_values=1)
        x, _ = pack([class_token, clip.x], "b * c")
        return Tokens(x, size, None if origin is None else 1 + origin)

    def _joint(self, class_token: jax.Array, x: jax.Array, train: bool) -> Tokens:
        """Applies blocks that attend to all tokens of a video."""
        x = rearrange(x, "b t p c -> b (p t) c")
        return self._blocks(Tokens(jnp.concatenate([class_token, x], axis=1)), train)

    def _space(self, class_token: jax.Array, x: jax.Array, train: bool) -> Tokens:
        """Applies blocks that attend within each frame, which has a class token of its own."""
        batch, frames = x.shape[:2]
        class_token = repeat(class_token, "b 1 c -> (b t) 1 c", t=frames)
        x = rearrange(x, "b t p c -> (b t) p c")
        tokens = self._blocks(Tokens(jnp.concatenate([class_token, x], axis=1)), train)
        return jax.tree.map(lambda y: rearrange(y, "(b t) n ... -> b (t n) ...", b=batch), tokens)

    def _blocks(self, tokens: Tokens, train: bool) -> Tokens:
        block = nn.remat(Block, static_argnums=2) if self.remat and train else Block
        for i, merging in enumerate(self.merging):
            assert merging.frames is None, 'frames merge with attention "divided" only'
            layer = block(
                self.heads,
                merging.patches,
                proportional=self.proportional and proportional(m.patches for m in self.merging),
                dtype=self.dtype,
                name=f"block_{i}",
            )
            tokens = layer(tokens, train)
        return tokens
