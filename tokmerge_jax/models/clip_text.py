"""CLIP's causal text transformer.

Source: CLIP (ICML 2021), section 2.4.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from tokmerge_jax.layers.block import Block
from tokmerge_jax.layers.functional import quick_gelu
from tokmerge_jax.merging import Tokens
from tokmerge_jax.models.clip_vit import EPSILON


class CLIPText(nn.Module):
    """CLIP's text encoder, whose result is the state at the end of each text.

    Attributes:
      width: C.
      depth: number of blocks.
      heads: K.
      vocab_size: rows of the word table.
      max_positions: the longest text.
      lora_rank: rank of the trained changes of the attention's projections; 0 = none.
      activation: activation of the MLPs.
      remat: whether blocks are recomputed in the backward pass: less memory, more time.
      dtype: dtype of the computation.
    """

    width: int
    depth: int
    heads: int
    vocab_size: int
    max_positions: int
    lora_rank: int = 0
    activation: Callable[[jax.Array], jax.Array] = quick_gelu
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, ids: Int[Array, "B L"], *, train: bool = False) -> Float[Array, "B C"]:
        """Returns the normed state at the end token: the largest id, the first if it is repeated.

        Padding comes after it, and the attention is causal.
        """
        normal = nn.initializers.normal
        word = nn.Embed(
            self.vocab_size, self.width, dtype=self.dtype, embedding_init=normal(0.02), name="word"
        )
        shape = (self.max_positions, self.width)
        table = self.param("position_embedding", normal(0.01), shape)
        tokens = Tokens(word(ids) + table[None, : ids.shape[1]].astype(self.dtype))
        block = nn.remat(Block, static_argnums=2) if self.remat and train else Block
        end = ids.argmax(axis=1)
        before = (jnp.arange(ids.shape[1])[None] <= end[:, None]).astype(jnp.float32)
        for i in range(self.depth):
            # In the last block, only the end token is computed.
            last = tokens.x[jnp.arange(len(ids)), end][:, None] if i == self.depth - 1 else None
            tokens = block(
                self.heads,
                causal=True,
                lora_rank=self.lora_rank,
                activation=self.activation,
                epsilon=EPSILON,
                dtype=self.dtype,
                name=f"block_{i}",
            )(tokens, train, last, None if last is None else before)
        return nn.LayerNorm(EPSILON, dtype=self.dtype, name="norm")(tokens.x[:, 0])
