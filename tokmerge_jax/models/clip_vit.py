"""CLIP's image transformer over the frames of a video; neighbouring clips may join.

Source: CLIP (ICML 2021), section 2.4; joining clips as in TempMe (ICLR 2025), section 3.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tokmerge_jax import kernels
from tokmerge_jax.layers.block import Block
from tokmerge_jax.layers.functional import Dense, patchify, quick_gelu
from tokmerge_jax.merging import Merger, Tokens, proportional
from tokmerge_jax.merging.tempme import Join

EPSILON = 1e-5
"""Epsilon of all norms of CLIP."""


class CLIPViT(nn.Module):
    """Encodes frames to tokens of clips; without joins, each frame is a clip.

    Attributes:
      width: C.
      heads: K.
      mergers: one per block, None where nothing merges; their number is the depth.
      joins: how clips join before each block, or None; empty = nothing joins.
      patch_size: edge of a patch in pixels.
      proportional: whether a key's weight is the number of tokens merged into it.
      join_positions: whether joining clips get learned position embeddings.
      lora_rank: rank of the trained changes of the attention's projections; 0 = none.
      activation: of the MLPs.
      mlp_width: hidden width of the MLPs; None = 4 C.
      remat: whether blocks are recomputed in the backward pass: less memory, more time.
      dtype: of the computation.
    """

    width: int
    heads: int
    mergers: tuple[Merger | None, ...]
    patch_size: int
    joins: tuple[Join | None, ...] = ()
    proportional: bool = True
    join_positions: bool = True
    lora_rank: int = 0
    activation: Callable[[jax.Array], jax.Array] = quick_gelu
    mlp_width: int | None = None
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        video: Float[Array, "B T H W 3"],
        *,
        train: bool = False,
        trace: bool = False,
        class_only: bool = False,
        after_block: Callable[[Tokens], None] | None = None,
    ) -> Tokens:
        """Encodes normalised pixels to the tokens of all f clips, [B f,N,C], before the last norm.

        The first T / f tokens of a clip are the class tokens of its frames, in order. With
        `class_only` these alone are returned, and the last block computes no others. `after_block`
        is called with the tokens that leave each block.
        """
        x = self._embed(video)
        tokens = self._placed(Tokens.traced(x) if trace else Tokens(x), video)
        block = nn.remat(Block, static_argnums=2) if self.remat and train else Block
        records = self.is_mutable_collection("intermediates")
        for i, merger in enumerate(self.mergers):
            join = self.joins[i] if self.joins else None
            if join:
                tokens = self._join(i, join, tokens, len(video))
            frames = video.shape[0] * video.shape[1] // len(tokens.x)
            last = class_only and i == len(self.mergers) - 1
            layer = self._block(block, i, merger)
            queries = tokens.x[:, :frames] if last else None
            if records:
                tokens = layer(tokens, train, queries)
            else:
                tokens = kernels.few_at_a_time(
                    lambda tokens, queries, layer=layer: layer(tokens, train, queries),
                    (tokens, queries),
                    tokens.x.shape[1],
                )
            if after_block:
                after_block(tokens)
        return tokens

    def _block(self, kind: type[Block], i: int, merger: Merger | None) -> Block:
        """The i-th block of the transformer."""
        return kind(
            self.heads,
            merger,
            proportional=self.proportional and proportional(self.mergers),
            lora_rank=self.lora_rank,
            activation=self.activation,
            mlp_width=self.mlp_width,
            epsilon=EPSILON,
            dtype=self.dtype,
            name=f"block_{i}",
        )

    def _embed(self, video: jax.Array) -> jax.Array:
        """Returns the class token and the patches of every frame, [B T,N,C], with positions."""
        frames = rearrange(video, "b t h w c -> (b t) 1 h w c")
        embed = Dense(self.width, use_bias=False, dtype=self.dtype, name="patch_embedding")
        x = self._with_class(embed(patchify(frames, self.patch_size)))
        x = x + self._table(video, (x.shape[1], self.width))[None].astype(x.dtype)
        return nn.LayerNorm(EPSILON, dtype=self.dtype, name="input_norm")(x)

    def _with_class(self, x: jax.Array) -> jax.Array:
        """Puts the class token before the patches [B T,P,C]."""
        class_token = self.param("class_embedding", self._normal, (self.width,))
        class_token = repeat(class_token.astype(x.dtype), "c -> b 1 c", b=len(x))
        return jnp.concatenate([class_token, x], axis=1)

    def _table(self, video: jax.Array, shape: tuple[int, int]) -> jax.Array:
        """The position table, of the shape [N,C]."""
        del video
        return jnp.asarray(self.param("position_embedding", self._normal, shape))

    def _placed(self, tokens: Tokens, video: jax.Array) -> Tokens:
        """Gives tokens the positions that attention rotates by; CLIP has none."""
        del video
        return tokens

    @property
    def _normal(self) -> nn.initializers.Initializer:
        return nn.initializers.normal(self.width**-0.5)

    def _join(self, i: int, join: Join, tokens: Tokens, videos: int) -> Tokens:
        positions = None
        if self.join_positions:
            shape = (len(tokens.x) // videos, self.width)
            positions = self.param(f"join_{i}_positions", nn.initializers.zeros_init(), shape)
        tokens = join(tokens, positions)
        self.sow("intermediates", f"join_{i}", tokens)
        return tokens
