"""TESTA for retrieval: TimeSformer, BLIP's BERT, a shared embedding space and a matching head.

Source: TESTA (Findings of EMNLP 2023), section 3, on BLIP (ICML 2022).
"""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from tokmerge_jax.layers.functional import unit
from tokmerge_jax.models.matcher import Matcher
from tokmerge_jax.models.timesformer import TimeSformer


class TESTA(Matcher):
    """Encodes videos and texts separately, and scores how well they match.

    Attributes:
      vision: the video transformer.
      text: BLIP's BERT, which attends to the video's tokens in every layer, or in none.
      embed_dim: E.
      dtype: dtype of the computation; embeddings and scores are float32.
    """

    vision: TimeSformer
    embed_dim: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:  # noqa: D102
        super().setup()
        self.vision_projection = nn.Dense(self.embed_dim, dtype=self.dtype)
        self.text_projection = nn.Dense(self.embed_dim, dtype=self.dtype)
        self.temperature = self.param("temperature", nn.initializers.constant(0.07), ())

    def encode_video(
        self, video: Float[Array, "B T H W 3"], *, train: bool = False
    ) -> tuple[Float[Array, "B N C"], Float[Array, "B 1 E"]]:
        """Encodes normalised pixels to tokens and embeddings of unit norm (float32).

        The embedding is the mean of all tokens, the class token included; as in the original, sizes
        are ignored.
        """
        x = self.vision(video, train=train).x
        return x, unit(self.vision_projection(x.mean(axis=1, keepdims=True)))

    def encode_text(
        self, ids: Int[Array, "B L"], mask: Bool[Array, "B L"], *, train: bool = False
    ) -> tuple[Float[Array, "B L C"], Float[Array, "B E"]]:
        """Encodes token ids to states for `match`, and embeddings of unit norm (float32)."""
        alone = self.text.encode_alone(ids, mask, first_only=True, train=train)
        ids = ids.at[:, 0].set(self.text.vocab_size - 1)  # [ENC], BLIP's last word, for matching
        states = self.text.encode_text(ids, mask, train=train)
        return states, unit(self.text_projection(alone[:, 0]))

    def __call__(
        self,
        video: Float[Array, "B T H W 3"],
        ids: Int[Array, "B L"],
        mask: Bool[Array, "B L"],
    ) -> tuple[Float[Array, "B 1 E"], Float[Array, "B E"], Float[Array, "B 2"]]:
        """Returns both embeddings, and the matching logits of each video with its own text."""
        tokens, video_embedding = self.encode_video(video)
        states, text_embedding = self.encode_text(ids, mask)
        return video_embedding, text_embedding, self.match(self.memory(tokens), states, mask)
