"""Multi-head attention with a weight for each key, and with evidence for mergers."""

from collections.abc import Set

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tokmerge_jax import kernels
from tokmerge_jax.layers.dense import Dense, fused_dense_dense
from tokmerge_jax.layers.lora import LoRA
from tokmerge_jax.merging import Evidence

KeysValues = tuple[Float[Array, "G M K D"], Float[Array, "G M K D"]]


class Attention(nn.Module):
    """softmax(q k' / sqrt(D) + log weight) v, with a projection on each side.

    Attributes:
      heads: K.
      width: channels of the queries and of the result.
      key_bias: whether the keys' projection has a bias; UMT's and BEiT's have none.
      causal: whether a query sees only keys up to its own place; needs calls without weights.
      lora_rank: rank of the trained change of the projections (`layers.lora`); 0 = no change.
      dropout: rate on the attention probabilities in training.
      dtype: of the computation; parameters are float32, the softmax always is.
    """

    heads: int
    width: int
    key_bias: bool = True
    causal: bool = False
    lora_rank: int = 0
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:  # noqa: D102
        self.query = Dense(self.width, dtype=self.dtype)
        self.key = Dense(self.width, use_bias=self.key_bias, dtype=self.dtype)
        self.value = Dense(self.width, dtype=self.dtype)
        self.out = Dense(self.width, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)
        if self.lora_rank:
            self.lora = LoRA(self.lora_rank, self.width, dtype=self.dtype)

    def keys_values(self, context: Float[Array, "B M C"]) -> KeysValues:
        """Returns the keys and values of `context`, for any number of `attend` calls."""
        return self._project(self.key, context), self._project(self.value, context)

    def attend(
        self,
        x: Float[Array, "B N C"],
        keys_values: KeysValues,
        weight: Float[Array, "B M"] | Float[Array, "B N M"] | None = None,
        *,
        needs: Set[str] = frozenset(),
        following: nn.Dense | None = None,
        train: bool = False,
    ) -> tuple[Float[Array, "B N C"], Evidence]:
        """Attends from `x` to `keys_values`; returns the result and the evidence for a merger.

        Args:
          x: what the queries are made of.
          keys_values: a result of the method `keys_values`.
          weight: weight of each key, the same for all queries or one for each query: a token's
            size, 0 for padding; None = 1 for all.
          needs: parts of `Evidence` to compute: "keys" (mean over heads), "entropy" (negative
            entropy of the head-averaged map, sizes left out), "received" (its columns' sums, own
            attention left out).
          following: a linear layer to apply to the result, fused with the last projection.
          train: whether probabilities are dropped, at the rate `dropout`.
        """
        key, value = keys_values
        query = self._project(self.query, x)
        scale = query.shape[-1] ** -0.5
        if self.causal and weight is None:
            weight = jnp.tril(jnp.ones((1, x.shape[1], key.shape[1]), jnp.float32))
        drops = train and self.dropout > 0
        if drops or (weight is not None and weight.ndim == 3):
            y, entropy = self._attend_dense(query, key, value, weight, scale, drops), None
        else:
            y, entropy = kernels.attention(
                query, key, value, weight, scale=scale, entropy="entropy" in needs
            )
        keys = key.mean(axis=2) if "keys" in needs else None
        received = kernels.received(query, key, scale=scale) if "received" in needs else None
        y = rearrange(y, "b n k d -> b n (k d)")
        y = self.out(y) if following is None else fused_dense_dense(self.out, following, y)
        return y, Evidence(keys, entropy, received)

    def _project(self, layer: nn.Dense, x: jax.Array) -> jax.Array:
        """Projects x [B,N,C] to queries, keys or values by head, [B,N,K,D]."""
        y = layer(x)
        if self.lora_rank:
            assert layer.name
            y += self.lora(x, layer.name)
        return rearrange(y, "b n (k d) -> b n k d", k=self.heads)

    def _attend_dense(
        self,
        query: jax.Array,
        key: jax.Array,
        value: jax.Array,
        weight: jax.Array | None,
        scale: float,
        drops: bool,
    ) -> jax.Array:
        """Attends with all probabilities [B,K,N,M] in memory: for dropout or weights per query."""
        logits = scale * jnp.einsum("bnkd,bmkd->bknm", query, key).astype(jnp.float32)
        if weight is not None:
            weight = weight if weight.ndim == 3 else weight[:, None]
            logits += jnp.log(weight)[:, None]
        probabilities = self.drop(jax.nn.softmax(logits), deterministic=not drops)
        return jnp.einsum("bknm,bmkd->bnkd", probabilities.astype(value.dtype), value)
