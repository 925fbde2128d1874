"""CLIP's image transformer over the frames of a video, whose clips may join on the way.

Source: CLIP (ICML 2021), section 2.4; joining clips as in TempMe (ICLR 2025), section 3.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tokmerge_jax import kernels
from tokmerge_jax.layers.block import Block
from tokmerge_jax.layers.dense import Dense
from tokmerge_jax.layers.functional import patchify
from tokmerge_jax.layers.mlp import quick_gelu
from tokmerge_jax.merging import Merger, Tokens
from tokmerge_jax.merging.tempme import Join

EPSILON = 1e-5
"""Of all norms of CLIP."""


class CLIPViT(nn.Module):
    """Frames -> tokens of clips; without joins each frame is a clip of its own.

    Attributes:
      width: C.
      heads: K.
      mergers: one per block, or None where a block keeps all tokens; their number is the depth.
      joins: what comes before each block: clips that join, or None. Empty = nothing ever joins.
      patch_size: edge of a patch in pixels.
      proportional: whether a key counts as often as the tokens merged into it.
      join_positions: whether clips are told apart by learned positions where they join and merge.
      lora_rank: of trained changes to the attention's projections; 0 = there are none.
      activation: of the MLPs.
      remat: compute blocks again for their gradients rather than keep what they computed.
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
        """Normalised pixels -> tokens of all clips before the last norm, [B f,N,C].

        The first T / f tokens of a clip are the class tokens of its frames, in their order;
        `class_only` leaves out the others, which the last block then need not compute.
        `after_block` is given what leaves each block, for networks that read those too.
        """
        tokens = Tokens.traced(self._embed(video)) if trace else Tokens(self._embed(video))
        block = nn.remat(Block, static_argnums=2) if self.remat and train else Block
        records = self.is_mutable_collection("intermediates")
        for i, merger in enumerate(self.mergers):
            join = self.joins[i] if self.joins else None
            if join:
                tokens = self._join(i, join, tokens, len(video))
            frames = video.shape[0] * video.shape[1] // len(tokens.x)
            last = class_only and i == len(self.mergers) - 1
            layer = block(
                self.heads,
                merger,
                proportional=self.proportional,
                lora_rank=self.lora_rank,
                activation=self.activation,
                epsilon=EPSILON,
                dtype=self.dtype,
                name=f"block_{i}",
            )
            queries = tokens.x[:, :frames] if last else None
            if records:
                tokens = layer(tokens, train, queries)
            else:
                run = partial(_run, layer, train)
                tokens = kernels.few_at_a_time(run, (tokens, queries), tokens.x.shape[1])
            if after_block:
                after_block(tokens)
        return tokens

    def _embed(self, video: jax.Array) -> jax.Array:
        """A class token and the patches of every frame, with their positions, normed."""
        frames = rearrange(video, "b t h w c -> (b t) 1 h w c")
        embed = Dense(self.width, use_bias=False, dtype=self.dtype, name="patch_embedding")
        x = embed(patchify(frames, self.patch_size))
        normal = nn.initializers.normal(self.width**-0.5)
        first = self.param("class_embedding", normal, (self.width,))
        first = repeat(first.astype(x.dtype), "c -> b 1 c", b=len(x))
        x = jnp.concatenate([first, x], axis=1)
        table = self.param("position_embedding", normal, x.shape[1:])
        x = x + table[None].astype(x.dtype)
        return nn.LayerNorm(EPSILON, dtype=self.dtype, name="input_norm")(x)

    def _join(self, i: int, join: Join, tokens: Tokens, videos: int) -> Tokens:
        positions = None
        if self.join_positions:
            shape = (len(tokens.x) // videos, self.width)
            positions = self.param(f"join_{i}_positions", nn.initializers.zeros_init(), shape)
        tokens = join(tokens, positions)
        self.sow("intermediates", f"join_{i}", tokens)
        return tokens


def _run(layer: Block, train: bool, tokens: Tokens, only: jax.Array | None) -> Tokens:
    """`layer`, with what `kernels.few_at_a_time` cuts at the end."""
    return layer(tokens, train, only)
