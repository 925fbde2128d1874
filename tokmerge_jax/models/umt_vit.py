"""UMT's video transformer: joint space-time attention over all patches, no class token.

Source: Unmasked Teacher (ICCV 2023), section 3; merging as in vid-TLDR (CVPR 2024).
"""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tokmerge_jax.layers.block import Block
from tokmerge_jax.layers.dense import Dense
from tokmerge_jax.layers.functional import patchify, space_time
from tokmerge_jax.merging import Merger, Tokens


class UMTViT(nn.Module):
    """UMT's video transformer.

    Attributes:
      width: C.
      heads: K.
      mergers: one per block, None where nothing merges; their number is the depth.
      patch_size: edge of a patch in pixels.
      table_frames: number of frames of the checkpoint's position table.
      drop_path: rate in the last block; the rate grows linearly from 0.
      remat: whether blocks are recomputed in the backward pass: less memory, more time.
      dtype: of the computation.
    """

    width: int
    heads: int
    mergers: tuple[Merger | None, ...]
    patch_size: int
    table_frames: int
    drop_path: float = 0.0
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, video: Float[Array, "B T H W 3"], *, train: bool = False, trace: bool = False
    ) -> Tokens:
        """Encodes normalised pixels to normed tokens [B,N,C], with their origin if `trace`."""
        frames = video.shape[1]
        embed = Dense(self.width, dtype=self.dtype, name="patch_embedding")
        x = embed(patchify(video, self.patch_size))
        table = space_time(x.shape[1] // frames, self.width, frames, self.table_frames)
        x = x + jnp.asarray(table, self.dtype)[None]
        tokens = Tokens.traced(x) if trace else Tokens(x)
        last = max(len(self.mergers) - 1, 1)
        block = nn.remat(Block, static_argnums=2) if self.remat and train else Block
        for i, merger in enumerate(self.mergers):
            tokens = block(
                self.heads,
                merger,
                key_bias=False,
                drop_path=self.drop_path * i / last,
                dtype=self.dtype,
                name=f"block_{i}",
            )(tokens, train)
        norm = nn.LayerNorm(1e-6, dtype=self.dtype, name="norm")
        return tokens.replace(x=norm(tokens.x))
