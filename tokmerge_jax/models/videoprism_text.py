"""VideoPrism's causal text transformer.

Source: VideoPrism (ICML 2024), its released code.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from tokmerge_jax.layers.block import Block
from tokmerge_jax.layers.norm import OffsetNorm
from tokmerge_jax.layers.positions import sincos_halves
from tokmerge_jax.merging import Tokens

LOGIT_CAP = 50.0
"""The largest absolute logit of attention in all blocks of VideoPrism."""


class VideoPrismText(nn.Module):
    """VideoPrism's text encoder, whose result is the state of a class token.

    Attributes:
      width: C.
      depth: number of blocks.
      heads: K.
      vocab_size: rows of the word table.
      logit_cap: see `Attention`.
      dtype: of the computation.
    """

    width: int
    depth: int
    heads: int
    vocab_size: int
    logit_cap: float = LOGIT_CAP
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, ids: Int[Array, "B L"], mask: Bool[Array, "B L"]) -> Float[Array, "B C"]:
        """Returns the normed state of the class token; padding comes after a text's pieces.

        The class token stands after the last piece. The original puts it after the padding, which
        nobody attends to; here, causal attention leaves the padding out without a mask.
        """
        x, last = self._embed(ids, mask)
        tokens, samples = Tokens(x), jnp.arange(len(ids))
        before = (jnp.arange(x.shape[1])[None] <= last[:, None]).astype(jnp.float32)
        for i in range(self.depth):
            # In the last block, only the class token is computed.
            query = tokens.x[samples, last][:, None] if i == self.depth - 1 else None
            tokens = Block(
                self.heads,
                causal=True,
                logit_cap=self.logit_cap,
                norm=OffsetNorm,
                activation=jax.nn.relu,
                dtype=self.dtype,
                name=f"block_{i}",
            )(tokens, False, query, None if query is None else before)
        return OffsetNorm(dtype=self.dtype, name="norm")(tokens.x[:, 0])

    def _embed(self, ids: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns words and class token [B,L+1,C], and the class token's place [B]."""
        normal = nn.initializers.normal(self.width**-0.5)
        word = nn.Embed(
            self.vocab_size, self.width, dtype=self.dtype, embedding_init=normal, name="word"
        )
        class_token = self.param("class_embedding", normal, (self.width,)).astype(self.dtype)
        x = self.width**0.5 * word(ids)
        x += jnp.asarray(sincos_halves(ids.shape[1], self.width), self.dtype)[None]
        x = jnp.pad(x, ((0, 0), (0, 1), (0, 0)))
        last = mask.sum(axis=1)
        here = jnp.arange(x.shape[1])[None] == last[:, None]
        return jnp.where(here[..., None], self.width**0.5 * class_token[None, None], x), last
