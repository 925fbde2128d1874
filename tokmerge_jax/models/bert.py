"""UMT's BERT: its first layers read text alone, its last ones also read a video.

Source: VindLU (CVPR 2023) and UMT (ICCV 2023), after BERT (NAACL 2019).
"""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from tokmerge_jax.layers.attention import KeysValues
from tokmerge_jax.layers.bert import BertEmbeddings, BertLayer


class Bert(nn.Module):
    """Text encoder in three modes: text, fusion, and both in one call (`__call__`, multi_modal).

    Attributes:
      width: C.
      depth: number of layers.
      heads: K.
      mlp_width: hidden width of the MLPs.
      fusion_layer: first layer with cross-attention.
      vocab_size: rows of the word table.
      max_positions: the longest text.
      dropout: rate in training.
      dtype: of the computation.
    """

    width: int
    depth: int
    heads: int
    mlp_width: int
    fusion_layer: int
    vocab_size: int
    max_positions: int
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:  # noqa: D102
        settings = {"dropout": self.dropout, "dtype": self.dtype}
        self.embeddings = BertEmbeddings(
            self.width, self.vocab_size, self.max_positions, **settings
        )
        self.layer = [
            BertLayer(self.width, self.heads, self.mlp_width, i >= self.fusion_layer, **settings)
            for i in range(self.depth)
        ]

    def encode_text(
        self, ids: Int[Array, "B L"], mask: Bool[Array, "B L"], *, train: bool = False
    ) -> Float[Array, "B L C"]:
        """Text mode: the layers below `fusion_layer`."""
        x = self.embeddings(ids, train=train)
        for layer in self.layer[: self.fusion_layer]:
            x = layer(x, mask, train=train)
        return x

    def memory(self, context: Float[Array, "G M C"]) -> tuple[KeysValues, ...]:
        """Keys and values of `context` in each fusion layer."""
        return tuple(layer.memory(context) for layer in self.layer[self.fusion_layer :])

    def fuse(
        self,
        x: Float[Array, "B L C"],
        mask: Bool[Array, "B L"],
        memory: tuple[KeysValues, ...],
        memory_mask: Bool[Array, "G M"] | None = None,
        *,
        first_only: bool = False,
        train: bool = False,
    ) -> Float[Array, "B I C"]:
        """Fusion mode: the layers from `fusion_layer` on.

        Args:
          x: states of text mode; B = G * P, and P texts in a row share one memory.
          mask: False on padding.
          memory: of `memory`, for G contexts.
          memory_mask: False on the contexts' padding; None = all visible.
          first_only: compute only position 0 of the last layer (I = 1), which is all that a
            matching head reads.
          train: use dropout.
        """
        last = len(memory) - 1
        for i, layer in enumerate(self.layer[self.fusion_layer :]):
            only = first_only and i == last
            x = layer(x, mask, memory[i], memory_mask, first_only=only, train=train)
        return x

    def __call__(
        self,
        ids: Int[Array, "B L"],
        mask: Bool[Array, "B L"],
        context: Float[Array, "B M D"],
        context_mask: Bool[Array, "B M"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B L C"]:
        """multi_modal mode: all layers, from ids."""
        x = self.encode_text(ids, mask, train=train)
        return self.fuse(x, mask, self.memory(context), context_mask, train=train)
