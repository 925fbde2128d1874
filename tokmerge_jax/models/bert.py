"""BERT with text layers, and fusion layers that also attend to a video (or a question).

UMT's BERT has text layers, then fusion layers. BLIP's (MED) has fusion layers only: it skips their
cross-attention for plain text, and with a causal mask it is a decoder.

Source: VindLU (CVPR 2023), UMT (ICCV 2023) and BLIP (ICML 2022), after BERT (NAACL 2019).
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from tokmerge_jax.layers.attention import Attention, KeysValues
from tokmerge_jax.layers.functional import MLP
from tokmerge_jax.layers.word_head import WordHead

Cache = tuple[Float[Array, "B A K D"], Float[Array, "B A K D"]]
"""Keys and values of A positions of each of B texts; a memory's `KeysValues` have other axes."""


class BertEmbeddings(nn.Module):
    """LayerNorm(word + position + type 0), then dropout.

    Attributes:
      width: C.
      vocab_size: rows of the word table.
      max_positions: rows of the position table, the longest text.
      token_types: rows of the type table; 0 = no such table.
      dropout: dropout rate in training.
      dtype: dtype of the computation.
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


class BertLayer(nn.Module):
    """x = norm(x + self-attention); x = norm(x + cross-attention); x = norm(x + MLP).

    Attributes:
      width: C.
      heads: K.
      mlp_width: hidden width of the MLP.
      cross: whether the layer reads a memory.
      dropout: dropout rate in training, on probabilities and on each sub-layer's result.
      dtype: dtype of the computation.
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
        return self._given_keys_values(x, keys_values, mask, memory, memory_mask, train)

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
          cache: keys and values of A positions; those from `position` on are not read.
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
        return self._given_keys_values(x, cache, mask, memory, memory_mask, train=False), cache

    def _given_keys_values(
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


class Bert(nn.Module):
    """A BERT in three modes: text, fusion, and both in one call (`__call__`, multi_modal).

    Attributes:
      width: C.
      depth: number of layers.
      heads: K.
      mlp_width: hidden width of the MLPs.
      fusion_layer: first layer with cross-attention.
      vocab_size: rows of the word table.
      max_positions: the longest text.
      token_types: rows of the table of token types; 0 = there is none, as in BLIP.
      predicts_words: whether it has a head that predicts words (`words`).
      dropout: dropout rate in training.
      remat: whether layers are recomputed in the backward pass: less memory, more time.
      dtype: dtype of the computation.
    """

    width: int
    depth: int
    heads: int
    mlp_width: int
    fusion_layer: int
    vocab_size: int
    max_positions: int
    token_types: int = 2
    predicts_words: bool = False
    dropout: float = 0.0
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:  # noqa: D102
        settings = {"dropout": self.dropout, "dtype": self.dtype}
        self.embeddings = BertEmbeddings(
            self.width, self.vocab_size, self.max_positions, self.token_types, **settings
        )
        static = 5, 6  # first_only, train
        layer = nn.remat(BertLayer, static_argnums=static) if self.remat else BertLayer
        self.layer = [
            layer(self.width, self.heads, self.mlp_width, i >= self.fusion_layer, **settings)
            for i in range(self.depth)
        ]
        if self.predicts_words:
            self.word_head = WordHead(self.width, self.vocab_size, self.dtype)

    def encode_text(
        self,
        ids: Int[Array, "B L"],
        mask: Bool[Array, "B L"] | Bool[Array, "B L L"],
        positions: Int[Array, "B L"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B L C"]:
        """Applies the embeddings and the text layers.

        Args:
          ids: ids of word pieces.
          mask: False on padding, or [query, key]: the positions that each one sees.
          positions: 0, 1, ... if not given.
          train: whether to use dropout.
        """
        x = self.embeddings(ids, positions, train=train)
        for layer in self.layer[: self.fusion_layer]:
            x = layer(x, mask, None, None, False, train)
        return x

    def memory(self, context: Float[Array, "G M C"]) -> tuple[KeysValues, ...]:
        """Returns the keys and values of `context` in each fusion layer."""
        return tuple(layer.memory(context) for layer in self.layer[self.fusion_layer :])

    def fuse(
        self,
        x: Float[Array, "B L C"],
        mask: Bool[Array, "B L"] | Bool[Array, "B L L"],
        memory: tuple[KeysValues, ...] | None,
        memory_mask: Bool[Array, "G M"] | None = None,
        *,
        first_only: bool = False,
        train: bool = False,
    ) -> Float[Array, "B I C"]:
        """Applies the fusion layers.

        Args:
          x: states of `encode_text`; B = G * P, and P consecutive texts share one memory.
          mask: see `encode_text`.
          memory: a result of `memory` for G contexts; None = cross-attention is skipped.
          memory_mask: False on the contexts' padding; None = all visible.
          first_only: whether to compute only position 0 of the last layer (I = 1), the only one
            that a matching head reads.
          train: whether to use dropout.
        """
        last = self.depth - self.fusion_layer - 1
        for i, layer in enumerate(self.layer[self.fusion_layer :]):
            only, read = first_only and i == last, memory[i] if memory else None
            x = layer(x, mask, read, memory_mask, only, train)
        return x

    def encode_alone(
        self,
        ids: Int[Array, "B L"],
        mask: Bool[Array, "B L"],
        *,
        first_only: bool = False,
        train: bool = False,
    ) -> Float[Array, "B I C"]:
        """Applies all layers without cross-attention: BLIP's text mode; arguments as in `fuse`."""
        x = self.encode_text(ids, mask, train=train)
        return self.fuse(x, mask, None, first_only=first_only, train=train)

    def empty_cache(self, rows: int, length: int) -> tuple[Cache, ...]:
        """Returns an empty cache for `step`: `length` positions of B = `rows` texts."""
        shape = (rows, length, self.heads, self.width // self.heads)
        zeros = partial(jnp.zeros, shape, self.dtype)
        return tuple((zeros(), zeros()) for _ in range(self.depth))

    def step(
        self,
        cache: tuple[Cache, ...],
        ids: Int[Array, " B"],
        position: Int[Array, ""],
        memory: tuple[KeysValues, ...],
        memory_mask: Bool[Array, "G M"] | None = None,
    ) -> tuple[Float[Array, "B C"], tuple[Cache, ...]]:
        """Computes one more position of causal texts in all layers.

        Args:
          cache: the caches of earlier positions, one for each layer.
          ids: the word pieces at `position`; B = G * P, and P consecutive texts share one memory.
          position: the position, below the cache's length.
          memory: a result of `memory` for G contexts.
          memory_mask: False on the contexts' padding; None = all visible.

        Returns:
          The states at `position`, and the caches with this position added.
        """
        x = self.embeddings(ids[:, None], jnp.full((len(ids), 1), position))
        reads, longer = (None,) * self.fusion_layer + memory, []
        for layer, past, read in zip(self.layer, cache, reads, strict=True):
            x, now = layer.step(x, past, position, read, memory_mask)
            longer.append(now)
        return x[:, 0], tuple(longer)

    def words(self, x: Float[Array, "*any C"]) -> Float[Array, "*any W"]:
        """Returns the logits of each word at each position (float32)."""
        return self.word_head(x, self.embeddings.word.embedding)

    def __call__(
        self,
        ids: Int[Array, "B L"],
        mask: Bool[Array, "B L"],
        context: Float[Array, "B M D"],
        context_mask: Bool[Array, "B M"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B L C"]:
        """Applies all layers to ids and a context (multi_modal mode)."""
        x = self.encode_text(ids, mask, train=train)
        return self.fuse(x, mask, self.memory(context), context_mask, train=train)
