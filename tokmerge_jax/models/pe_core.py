"""PE-Core: a CLIP with rotary positions, whose frames are pooled by attention.

Source: Perception Encoder (arXiv 2504.13181), its released code. Merging in it has no original:
attention rotates by the positions of merged tokens, and pooling counts their sizes.
"""

import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from jaxtyping import Array, Float

from tokmerge_jax.layers.pooling import AttentionPooling
from tokmerge_jax.layers.positions import linear_grid, places
from tokmerge_jax.merging import Tokens
from tokmerge_jax.merging.tokens import PositionRule
from tokmerge_jax.models.clip import CLIP
from tokmerge_jax.models.clip_vit import EPSILON, CLIPViT


class PECoreViT(CLIPViT):
    """Encodes frames of any size; pixels beyond the last whole patch are left out.

    Attributes:
      grid: edge of the position table in patches, which is interpolated for frames of other sizes.
      class_token: whether each frame has a class token.
      position_rule: see `Tokens`.
    """

    grid: int = 14
    class_token: bool = True
    position_rule: PositionRule = "mean"

    def _embed(self, video: jax.Array) -> jax.Array:
        rows, columns = self._patches(video)
        return super()._embed(video[:, :, : rows * self.patch_size, : columns * self.patch_size])

    def _with_class(self, x: jax.Array) -> jax.Array:
        return super()._with_class(x) if self.class_token else x

    def _table(self, video: jax.Array, shape: tuple[int, int]) -> jax.Array:
        table = super()._table(video, (self.class_token + self.grid**2, shape[1]))
        return linear_grid(table, self.grid, *self._patches(video))

    def _placed(self, tokens: Tokens, video: jax.Array) -> Tokens:
        position = jnp.asarray(places(*self._patches(video), int(self.class_token)))
        position = repeat(position, "n two -> b n two", b=len(tokens.x))
        return tokens.replace(position=position, position_rule=self.position_rule)

    def _patches(self, video: jax.Array) -> tuple[int, int]:
        """Number of rows and columns of patches in a frame."""
        return video.shape[2] // self.patch_size, video.shape[3] // self.patch_size


class PECore(CLIP, kw_only=True):
    """Encodes frames and texts separately.

    Attributes:
      pool_heads: number of heads of the attention pooling.
      pool_sizes: whether pooling counts how many input tokens a token stands for.
    """

    pool_heads: int
    pool_sizes: bool

    def setup(self) -> None:  # noqa: D102
        super().setup()
        self.pool = AttentionPooling(self.pool_heads, EPSILON, dtype=self.dtype)

    def encode_video(
        self, video: Float[Array, "B T H W 3"], *, train: bool = False
    ) -> Float[Array, "B F E"]:
        """Encodes normalised pixels to embeddings of each clip, of any norm (float32).

        Without joins, each frame is a clip.
        """
        tokens = self.vision(video, train=train)
        x = self.pool(self.vision_norm(tokens.x), tokens.size if self.pool_sizes else None)
        x = rearrange(x, "(b f) c -> b f c", b=len(video))
        return self.vision_projection(x).astype(jnp.float32)
