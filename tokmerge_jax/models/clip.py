"""CLIP: images (here, the frames of videos) and texts in one space.

Source: CLIP (ICML 2021), section 2; videos as means of their frames as in CLIP4Clip
(Neurocomputing 2022), section 3.3.
"""

import math

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from tokmerge_jax.layers.functional import unit
from tokmerge_jax.models.clip_text import CLIPText
from tokmerge_jax.models.clip_vit import EPSILON, CLIPViT


class CLIP(nn.Module):
    """Encodes frames and texts separately.

    Attributes:
      vision: the image transformer.
      text: the text transformer.
      embed_dim: E.
      dtype: dtype of the computation; embeddings are float32.
    """

    vision: CLIPViT
    text: CLIPText
    embed_dim: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:  # noqa: D102
        projection = {"features": self.embed_dim, "use_bias": False, "dtype": self.dtype}
        self.vision_norm = nn.LayerNorm(EPSILON, dtype=self.dtype)
        self.vision_projection = nn.Dense(**projection)
        self.text_projection = nn.Dense(**projection)
        self.logit_scale = self.param(
            "logit_scale", nn.initializers.constant(math.log(1 / 0.07)), ()
        )

    def encode_video(
        self, video: Float[Array, "B T H W 3"], *, train: bool = False
    ) -> Float[Array, "B F E"]:
        """Encodes normalised pixels to embeddings of each frame, of any norm (float32)."""
        x = self.vision(video, train=train, class_only=True).x
        x = rearrange(x, "(b f) t c -> b (f t) c", b=len(video))
        return self.vision_projection(self.vision_norm(x)).astype(jnp.float32)

    def encode_text(self, ids: Int[Array, "B L"], *, train: bool = False) -> Float[Array, "B E"]:
        """Encodes token ids to embeddings, of any norm (float32)."""
        return self.text_projection(self.text(ids, train=train)).astype(jnp.float32)

    def __call__(
        self, video: Float[Array, "B T H W 3"], ids: Int[Array, "Q L"]
    ) -> tuple[Float[Array, "B F E"], Float[Array, "Q E"]]:
        """Returns the embeddings of both."""
        return self.encode_video(video), self.encode_text(ids)


def pooled(frames: Float[Array, "B T E"]) -> Float[Array, "B E"]:
    """Averages the unit vectors of a video's frames, whose embeddings may have any norm."""
    return unit(frames).mean(axis=1)
