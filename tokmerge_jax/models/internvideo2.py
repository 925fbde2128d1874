"""InternVideo2-CLIP: a video transformer with a class token, pooled by attention, and CLIP's text.

Source: InternVideo2 (arXiv 2403.15377), its released small models, with the text transformer of
MobileCLIP (CVPR 2024). Merging in it has no original: attention and pooling count sizes.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import repeat
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from tokmerge_jax.layers.block import Block
from tokmerge_jax.layers.functional import gelu_tanh
from tokmerge_jax.layers.pooling import MeanAttentionPooling
from tokmerge_jax.layers.positions import one_frame, sincos_grid, video_grid
from tokmerge_jax.merging import Merger, proportional
from tokmerge_jax.models.clip_text import CLIPText
from tokmerge_jax.models.clip_vit import EPSILON
from tokmerge_jax.models.umt import UMTViT


class InternVideo2ViT(UMTViT, kw_only=True):
    """UMT's transformer with a class token, learned positions and other norms; none is the last.

    Attributes:
      grid: edge of the position table in patches, above 0; the table is interpolated for others.
      proportional: whether a key's weight is the number of tokens merged into it.
      last_norm: as in UMT's.
      activation: of the MLPs.
    """

    proportional: bool = True
    last_norm: bool = False
    activation: Callable[[jax.Array], jax.Array] = gelu_tanh

    def _placed(self, patches: jax.Array, shape: Sequence[int]) -> jax.Array:
        _, frames, height, width, _ = shape
        normal = nn.initializers.normal(0.02)
        class_token = self.param("class_embedding", normal, (self.width,))
        class_token = repeat(jnp.asarray(class_token, self.dtype), "c -> b 1 c", b=len(patches))
        table = jnp.asarray(self.param("position_embedding", self._start))
        size = self.table_frames, self.grid
        if frames == 1:
            table, size = one_frame(table, self.table_frames), (1, self.grid)
        rows, columns = height // self.patch_size, width // self.patch_size
        table = video_grid(table, size, (frames, rows, columns)).astype(self.dtype)
        return jnp.concatenate([class_token, patches], axis=1) + table[None]

    def _start(self, key: jax.Array) -> jax.Array:
        """The position table before training; nothing in it is random."""
        del key
        return jnp.asarray(sincos_grid(self.table_frames, self.grid, self.width))

    def _block(self, kind: type[Block], i: int, merger: Merger | None) -> Block:
        return kind(
            self.heads,
            merger,
            self.proportional and proportional(self.mergers),
            biased=(),
            normed=True,
            activation=self.activation,
            norm=nn.RMSNorm,
            layer_scale=True,
            dtype=self.dtype,
            name=f"block_{i}",
        )


class InternVideo2(nn.Module):
    """Encodes videos and texts separately.

    Attributes:
      vision: the video transformer.
      text: the text transformer.
      pool_heads: number of heads of the attention pooling.
      pool_width: number of channels of its result.
      pool_sizes: whether pooling counts how many input tokens a token stands for.
      embed_dim: E.
      dtype: dtype of the computation; embeddings are float32.
    """

    vision: InternVideo2ViT
    text: CLIPText
    pool_heads: int
    pool_width: int
    pool_sizes: bool
    embed_dim: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:  # noqa: D102
        self.pool = MeanAttentionPooling(
            self.pool_heads, self.pool_width, EPSILON, dtype=self.dtype
        )
        self.vision_norm = nn.LayerNorm(EPSILON, dtype=self.dtype)
        self.vision_projection = nn.Dense(self.embed_dim, dtype=self.dtype)
        self.text_projection = nn.Dense(self.embed_dim, use_bias=False, dtype=self.dtype)
        self.temperature = self.param("temperature", nn.initializers.constant(0.01), ())

    @property
    def logit_scale(self) -> jax.Array:
        """The logarithm of the factor of the cosines."""
        return -jnp.log(self.temperature)

    def encode_video(
        self, video: Float[Array, "B T H W 3"], *, train: bool = False
    ) -> Float[Array, "B 1 E"]:
        """Encodes normalised pixels to one embedding per video, of any norm (float32)."""
        tokens = self.vision(video, train=train)
        pooled = self.pool(tokens.x, tokens.size if self.pool_sizes else None)
        return self.vision_projection(self.vision_norm(pooled))[:, None].astype(jnp.float32)

    def encode_text(self, ids: Int[Array, "B L"], *, train: bool = False) -> Float[Array, "B E"]:
        """Encodes token ids to embeddings, of any norm (float32)."""
        return self.text_projection(self.text(ids, train=train)).astype(jnp.float32)

    def __call__(
        self, video: Float[Array, "B T H W 3"], ids: Int[Array, "Q L"]
    ) -> tuple[Float[Array, "B 1 E"], Float[Array, "Q E"]]:
        """Returns the embeddings of both."""
        return self.encode_video(video), self.encode_text(ids)
