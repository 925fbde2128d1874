"""The post-norm BERT layer, with cross-attention to a memory that several texts may share."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from tokmerge_jax.layers.attention import Attention, KeysValues
from tokmerge_jax.layers.dense import Dense
from tokmerge_jax.layers.mlp import MLP, gelu

Cache = tuple[Float[Array, "B A K D"], Float[Array, "B A K D"]]
"""A key/value cache: keys and values of A positions for each of B texts."""


class BertEmbeddings(nn.Module):
    """LayerNorm(word + position + type 0), then dropout.

    Attributes:
      width: C.
      vocab_size: rows of the word table.
      max_positions: rows of the position table, the longest text.
      token_types: rows of the type table; 0 = no such table.
      dropout: rate in training.
      dtype: of the computation.
    """

    width: int
    vocab_size: int
    max_positions: int
    token_types: int = 2
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:  # noqa: D102
        table = {"features": self.width, "embedding_init": nn.initializers.normal(0.02)}
        self.word = nn.Embed(self.vocab_size, **table)
        self.position = nn.Embed(self.max_positions, **table)
        if self.token_types:
            self.type = nn.Embed(self.token_types, **table)
        self.norm = nn.LayerNorm(1e-12, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    def __call__(
        self,
        ids: Int[Array, "B L"],
        positions: Int[Array, "B L"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B L C"]:
        """Embeds token ids. All tokens are of type 0; positions are 0, 1, ... if not given."""
        if positions is None:
            positions = jnp.arange(ids.shape[1])[None]
        x = self.word(ids) + self.position(positions)
        if self.token_types:
            x += self.type(jnp.zeros_like(positions))
        return self.drop(self.norm(x), deterministic=not train)


class WordHead(nn.Module):
    """Logits of words from states: a transform, then the word table as output layer.

    Attributes:
      width: C.
      vocab_size: W, rows of the word table.
      dtype: of the transform; logits are float32.
    """

    width: int
    vocab_size: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "*any C"], table: Float[Array, "W C"]
    ) -> Float[Array, "*any W"]:
        """Returns the logits of the rows of `table` (float32)."""
        x = gelu(Dense(self.width, dtype=self.dtype, name="transform")(x))
        x = nn.LayerNorm(1e-12, dtype=self.dtype, name="norm")(x)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.vocab_size,))
        products = jax.lax.dot_general(
            x,
            table.astype(x.dtype),
            (((x.ndim - 1,), (1,)), ((), ())),
            preferred_element_type=jnp.float32,
        )
        return products + jnp.expand_dims(bias, range(x.ndim - 1))


class BertLayer(nn.Module):
    """x = norm(x + self-attention); x = norm(x + cross-attention); x = norm(x + MLP).

    Attributes:
      width: C.
      heads: K.
      mlp_width: hidden width of the MLP.
      cross: whether the layer reads a memory.
      dropout: rate in training, on probabilities and on each sub-layer's result.
      dtype: of the computation.
    """

    width: int
    heads: int
    mlp_width: int
    cross: bool
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:  # noqa: D102
        settings = {"dropout": self.dropout, "dtype": self.dtype}
        self.attention = Attention(self.heads, self.width, **settings)
        self.attention_norm = nn.LayerNorm(1e-12, dtype=self.dtype)
        if self.cross:
            self.cross_attention = Attention(self.heads, self.width, **settings)
            self.cross_attention_norm = nn.LayerNorm(1e-12, dtype=self.dtype)
        self.mlp = MLP(self.mlp_width, self.width, dtype=self.dtype)
        self.mlp_norm = nn.LayerNorm(1e-12, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    def memory(self, context: Float[Array, "G M C"]) -> KeysValues:
        """Returns the cross-attention's keys and values of `context`, which serve all its texts."""
        return self.cross_attention.keys_values(context)

    def __call__(
        self,
        x: Float[Array, "B L C"],
        mask: Bool[Array, "B L"] | Bool[Array, "B L L"],
        memory: KeysValues | None = None,
        memory_mask: Bool[Array, "G M"] | None = None,
        first_only: bool = False,
        train: bool = False,
    ) -> Float[Array, "B I C"]:
        """Applies the layer.

        Args:
          x: states of B = G * P texts; P consecutive texts share one memory.
          mask: False on padding, or [query, key]: the positions that each one sees (at least one).
          memory: a result of `memory` for G contexts; only in a layer with cross-attention.
          memory_mask: False on the contexts' padding; None = all visible.
          first_only: whether to compute position 0 alone (I = 1 instead of L).
          train: whether to use dropout.
        """
        keys_values = self.attention.keys_values(x)
        x = x[:, :1] if first_only else x
        return self._rest(x, keys_values, mask, memory, memory_mask, train)

    def step(
        self,
        x: Float[Array, "B 1 C"],
        cache: Cache,
        position: Int[Array, ""],
        memory: KeysValues | None = None,
        memory_mask: Bool[Array, "G M"] | None = None,
    ) -> tuple[Float[Array, "B 1 C"], Cache]:
        """Computes the next position of B texts; each sees its own past and itself.

        Args:
          x: states at `position`.
          cache: the cache of earlier positions; its entries from `position` on are not read.
          position: the position, below A.
          memory: see `__call__`.
          memory_mask: see `__call__`.

        Returns:
          The states at `position`, and the cache with this position added.
        """
        cache = jax.tree.map(
            lambda past, now: jax.lax.dynamic_update_slice_in_dim(past, now, position, axis=1),
            cache,
            self.attention.keys_values(x),
        )
        seen = jnp.arange(cache[0].shape[1]) <= position
        mask = repeat(seen, "a -> b 1 a", b=len(x))
        return self._rest(x, cache, mask, memory, memory_mask, train=False), cache

    def _rest(
        self,
        x: jax.Array,
        keys_values: Cache,
        mask: jax.Array,
        memory: KeysValues | None,
        memory_mask: jax.Array | None,
        train: bool,
    ) -> jax.Array:
        """Applies the layer, given its self-attention's keys and values."""
        y, _ = self.attention.attend(x, keys_values, _weight(mask), train=train)
        x = self._add(self.attention_norm, x, y, train)
        if memory is not None:
            grouped = rearrange(x, "(g p) l c -> g (p l) c", g=len(memory[0]))
            weight = None if memory_mask is None else _weight(memory_mask)
            y, _ = self.cross_attention.attend(grouped, memory, weight, train=train)
            y = rearrange(y, "g (p l) c -> (g p) l c", l=x.shape[1])
            x = self._add(self.cross_attention_norm, x, y, train)
        return self._add(self.mlp_norm, x, self.mlp(x), train)

    def _add(self, norm: nn.LayerNorm, x: jax.Array, y: jax.Array, train: bool) -> jax.Array:
        return norm(x + self.drop(y, deterministic=not train))


def _weight(mask: jax.Array) -> jax.Array:
    return mask.astype(jnp.float32)
