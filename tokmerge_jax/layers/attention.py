"""Multi-head attention whose keys may weigh more than one token, and which reports on itself."""

from collections.abc import Set

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tokmerge_jax import kernels
from tokmerge_jax.layers.dense import Dense, in_one
from tokmerge_jax.layers.lora import LoRA
from tokmerge_jax.merging import Evidence

KeysValues = tuple[Float[Array, "G M K D"], Float[Array, "G M K D"]]


class Attention(nn.Module):
    """softmax(q k' / sqrt(D) + log weight) v, with a projection on each side.

    Attributes:
      heads: K.
      width: channels of the queries and of the result.
      key_bias: False in UMT and BEiT, whose keys have no bias.
      causal: where keys are given no weights, no query sees one behind its own place.
      lora_rank: of the trained change of the projections (`layers.lora`); 0 = there is none.
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
        """Keys and values of `context`, to be used by any number of `attend` calls."""
        return self._project(self.key, context), self._project(self.value, context)

    def attend(
        self,
        x: Float[Array, "B N C"],
        keys_values: KeysValues,
        weight: Float[Array, "B M"] | Float[Array, "B N M"] | None = None,
        *,
        needs: Set[str] = frozenset(),
        then: nn.Dense | None = None,
        train: bool = False,
    ) -> tuple[Float[Array, "B N C"], Evidence]:
        """What `x` reads from `keys_values`, and the evidence that a merger asked for.

        Args:
          x: queries' source.
          keys_values: of `keys_values`.
          weight: how much each key counts, for all queries or for each: a token's size, 0 for
            padding; None = 1 for all.
          needs: parts of `Evidence` to compute: "keys" (mean over heads), "entropy" (negative
            entropy of the head-averaged map, sizes left out), "received" (its columns' sums, own
            attention left out).
          then: a layer that the result goes through, in one product with the last projection.
          train: drop probabilities at the rate `dropout`.
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
        y = self.out(y) if then is None else in_one(self.out, then, y)
        return y, Evidence(keys, entropy, received)

    def _project(self, layer: nn.Dense, x: jax.Array) -> jax.Array:
        """Queries, keys or values, by head."""
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
        """The same where probabilities need coins or weights of their own, so all exist here."""
        logits = scale * jnp.einsum("bnkd,bmkd->bknm", query, key).astype(jnp.float32)
        if weight is not None:
            weight = weight if weight.ndim == 3 else weight[:, None]
            logits += jnp.log(weight)[:, None]
        probabilities = self.drop(jax.nn.softmax(logits), deterministic=not drops)
        return jnp.einsum("bknm,bmkd->bnkd", probabilities.astype(value.dtype), value)
